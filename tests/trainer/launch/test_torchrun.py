"""torchrun is told where to meet, and its ranks get the environment that they need and nothing is taken from it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from trainer.launch.source import PROGRAM_FOLDER
from trainer.launch.torchrun import chosen_environment, ranks_command


def command(nodes: int, node: int) -> list[str]:
    return ranks_command(
        "/bin/py", ["--epochs=1", "a b"], nodes=nodes, node=node, ranks_per_node=8, address="10.0.0.1", port=29500
    )


def added(inherited: dict[str, str], interface: Any = None, backend: str = "cpu", ranks: int = 2) -> dict[str, str]:
    return chosen_environment(backend, inherited, ranks_per_node=ranks, interface=interface)


def test_one_host_meets_itself_on_a_port_that_the_system_chooses() -> None:
    words = command(1, 0)

    assert words[:4] == ["/bin/py", "-m", "torch.distributed.run", "--nproc_per_node=8"]
    assert {"--nnodes=1", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0", "--max_restarts=0"} <= set(words)
    assert not any("10.0.0.1" in word for word in words)
    assert words[-4:] == ["-m", "trainer", "--epochs=1", "a b"]


def test_several_hosts_meet_at_the_first_and_keep_their_numbers() -> None:
    words = command(2, 1)

    assert {"--nnodes=2", "--node_rank=1", "--rdzv_backend=static"} <= set(words)
    assert {"--master_addr=10.0.0.1", "--master_port=29500"} <= set(words)
    assert not any("c10d" in word for word in words)
    assert [word for word in command(2, 0) if word not in words] == ["--node_rank=0"]


def test_a_rank_that_is_alone_is_started_by_itself_and_told_its_place() -> None:
    words = ranks_command("/bin/py", ["--epochs=1"], nodes=1, node=0, ranks_per_node=1, address="", port=0)

    assert words == ["/bin/py", "-u", "-m", "trainer", "--epochs=1"]
    place = added({"RANK": "7", "WORLD_SIZE": "8", "LOCAL_RANK": "7"}, ranks=1)
    assert {name: place[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")} == {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "GROUP_RANK": "0",
    }


@pytest.mark.parametrize(("ranks", "interface"), [(2, None), (1, "ib0"), (1, "")])
def test_ranks_that_torchrun_starts_are_told_their_places_by_it(ranks: int, interface: Any) -> None:
    assert not {"RANK", "WORLD_SIZE"} & set(added({}, interface, ranks=ranks))


@pytest.mark.parametrize("nodes", [1, 2])
def test_torchrun_knows_every_option(nodes: int) -> None:
    run = pytest.importorskip("torch.distributed.run")

    parsed = run.parse_args(command(nodes, 0)[3:])

    assert (str(parsed.nnodes), str(parsed.nproc_per_node)) == (str(nodes), "8")
    assert (parsed.module, parsed.training_script) == (True, "trainer")
    assert parsed.training_script_args == ["--epochs=1", "a b"]


@pytest.mark.parametrize(("interface", "expected"), [(None, "lo"), ("ib0", "ib0"), ("", None)])
def test_gloo_uses_the_interface_to_the_others_alone_loopback_and_unknown_is_left_to_it(
    interface: Any, expected: Any
) -> None:
    assert added({}, interface).get("GLOO_SOCKET_IFNAME") == expected


def test_what_is_set_already_stays() -> None:
    set_here = {"GLOO_SOCKET_IFNAME": "eth7", "OMP_NUM_THREADS": "3", "PYTHONUNBUFFERED": "0"}

    assert not set(set_here) & set(added(set_here, "ib0"))


def test_a_backends_own_variables_come_along() -> None:
    assert added({}, backend="kunlunxin")["XACC_ENABLE"] == "1"
    assert "XACC_ENABLE" not in added({"XACC_ENABLE": "0"}, backend="kunlunxin")


@pytest.mark.parametrize("ranks", [1, 2, 1000])
def test_a_rank_has_its_share_of_the_cores_and_never_none(ranks: int) -> None:
    assert int(added({}, ranks=ranks)["OMP_NUM_THREADS"]) == max(1, len(os.sched_getaffinity(0)) // ranks)


@pytest.mark.parametrize(
    ("inherited", "expected"),
    [
        ("", str(PROGRAM_FOLDER)),
        ("/a:/b", f"{PROGRAM_FOLDER}:/a:/b"),
        (f"/a:{PROGRAM_FOLDER}:/b:/a", f"{PROGRAM_FOLDER}:/a:/b"),
    ],
)
def test_the_trainer_is_found_first_and_each_folder_is_there_once(inherited: str, expected: str) -> None:
    assert added({"PYTHONPATH": inherited})["PYTHONPATH"] == expected
