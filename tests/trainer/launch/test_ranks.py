"""The command and the environment of a host's ranks, and dumps of their stacks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator

import psutil
import pytest

from tests.trainer.launch.test_processes import until
from trainer.launch import ranks
from trainer.launch.launchers import PROGRAM_FOLDER
from trainer.launch.ranks import chosen_environment, dump_stacks, ranks_command, ranks_here


def command(nodes: int, node: int, address: str = "10.0.0.1") -> list[str]:
    return ranks_command(
        "/bin/py", ["--epochs=1", "a b"], nodes=nodes, node=node, ranks_per_node=8, address=address, port=29500
    )


def added(inherited: dict[str, str], interface: Any = None, backend: str = "cpu", ranks: int = 2) -> dict[str, str]:
    return chosen_environment(backend, inherited, ranks_per_node=ranks, interface=interface)


def test_one_host_meets_itself_on_a_port_that_the_system_chooses() -> None:
    words = command(1, 0, address="")

    assert words[:4] == ["/bin/py", "-m", "torch.distributed.run", "--nproc_per_node=8"]
    assert {"--nnodes=1", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0", "--max_restarts=0"} <= set(words)
    assert not any("29500" in word for word in words)
    assert words[-4:] == ["-m", "trainer", "--epochs=1", "a b"]


def test_several_hosts_meet_at_the_first_and_keep_their_numbers() -> None:
    words = command(2, 1)

    assert {"--nnodes=2", "--node_rank=1", "--rdzv_backend=static"} <= set(words)
    assert {"--master_addr=10.0.0.1", "--master_port=29500"} <= set(words)
    assert not any("c10d" in word for word in words)
    assert [word for word in command(2, 0) if word not in words] == ["--node_rank=0"]


def test_one_host_whose_name_leads_nowhere_meets_at_an_address() -> None:
    words = command(1, 0, address="127.0.0.1")

    assert {"--nnodes=1", "--node_rank=0", "--rdzv_backend=static"} <= set(words)
    assert {"--master_addr=127.0.0.1", "--master_port=29500"} <= set(words)


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


# Looks like a rank, `python -m trainer --flags` with RANK set: a package of that name, in a folder of the test's.
RANK = """
import os, subprocess, sys, time

def waits_for_its_peers():
    print(os.getpid(), flush=True)
    time.sleep(600)

def reads(name):
    time.sleep(600)

if "--with-worker" in sys.argv and os.fork() == 0:  # a loader's worker: the same command line and environment
    reads("000000000139.jpg")
if "--with-tool" in sys.argv:
    subprocess.Popen(["sleep", "600"])
waits_for_its_peers()
"""


@contextlib.contextmanager
def rank(folder: Path, number: str, *flags: str) -> Iterator[Any]:
    (folder / "trainer").mkdir(exist_ok=True)
    (folder / "trainer" / "__init__.py").touch()
    (folder / "trainer" / "__main__.py").write_text(RANK)
    command = [sys.executable, "-u", "-m", "trainer", "--epochs=1", *flags]
    process = subprocess.Popen(
        command, cwd=str(folder), env={**os.environ, "RANK": number}, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_ranks_are_found_among_the_descendants_and_their_workers_are_not(tmp_path: Path) -> None:
    with rank(tmp_path, "3", "--with-worker") as process:
        assert until(lambda: len(psutil.Process(process.pid).children()) == 1)

        found = [(number, member.pid) for number, member in ranks_here()]

    assert found == [(3, process.pid)]


@pytest.mark.parametrize(
    "command",
    [["-c", "import time; time.sleep(60)"], ["-c", "import time; time.sleep(60)", "-m"], ["-m", "http.server"]],
)
def test_other_processes_are_no_ranks(command: list[str], tmp_path: Path) -> None:
    words = [sys.executable, *command, *(["0"] if "http.server" in command else [])]
    process = subprocess.Popen(words, cwd=str(tmp_path), env={**os.environ, "RANK": "0"}, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: psutil.Process(process.pid).cmdline() == words)
        assert [member.pid for _, member in ranks_here() if member.pid == process.pid] == []
    finally:
        process.kill()
        process.wait()


def test_the_stacks_of_loader_workers_name_what_they_read(tmp_path: Path) -> None:
    with rank(tmp_path, "3", "--with-worker") as process:
        assert until(lambda: len(psutil.Process(process.pid).children()) == 1)
        (worker,) = psutil.Process(process.pid).children()
        time.sleep(0.5)  # it has begun to read

        (message,) = dump_stacks(tmp_path)

    written = (tmp_path / "rank-0003.stack.log").read_text()
    own, of_worker = written.split(f"\nloader worker, process {worker.pid}, state ")
    if not message["problem"]:  # who may not look into other processes says so
        assert "waits_for_its_peers" in own
        assert "000000000139.jpg" not in own
        assert "reads" in of_worker
        assert "000000000139.jpg" in of_worker
    else:
        assert of_worker.count("CAP_SYS_PTRACE") == 1


def test_a_process_that_a_rank_started_and_that_is_no_worker_is_not_looked_into(
    tmp_path: Path, monkeypatch: Any
) -> None:
    with rank(tmp_path, "0", "--with-tool") as process:
        assert until(lambda: [one.cmdline()[:1] for one in psutil.Process(process.pid).children()] == [["sleep"]])
        fake_py_spy(tmp_path, "echo a stack", monkeypatch)
        dump_stacks(tmp_path)

    assert "loader worker" not in (tmp_path / "rank-0000.stack.log").read_text()


def test_a_stopped_rank_says_where_it_is_and_that_it_is_stopped(tmp_path: Path) -> None:
    with rank(tmp_path, "1") as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)

        found = dump_stacks(tmp_path)

        assert psutil.Process(process.pid).status() == psutil.STATUS_STOPPED

    assert (found[0]["rank"], found[0]["pid"], found[0]["state"]) == (1, process.pid, "stopped")
    written = (tmp_path / "rank-0001.stack.log").read_text()
    assert written.startswith(f"rank 1, process {process.pid}, state stopped, 20")
    if not found[0]["problem"]:  # who may not look into other processes says so
        assert "waits_for_its_peers" in written
    else:
        assert "CAP_SYS_PTRACE" in written


def fake_py_spy(folder: Path, text: str, monkeypatch: Any) -> Path:
    """Put a program of that name where Python is; return where it notes its words."""
    program, noted = folder / "bin" / "py-spy", folder / "words"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {noted}\n{text}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(folder / "bin" / "python"))
    return noted


def test_the_program_beside_this_python_is_asked_without_stopping_the_rank(tmp_path: Path, monkeypatch: Any) -> None:
    with rank(tmp_path, "0") as process:
        noted = fake_py_spy(tmp_path, "echo a stack", monkeypatch)

        (message,) = dump_stacks(tmp_path)

    assert noted.read_text().split() == ["dump", "--nonblocking", "--pid", str(process.pid)]
    assert message["problem"] == ""
    assert (tmp_path / "rank-0000.stack.log").read_text().splitlines()[1] == "a stack"


def test_a_name_that_is_not_utf_8_in_a_stack_ends_no_agent(tmp_path: Path, monkeypatch: Any) -> None:
    with rank(tmp_path, "0"):
        fake_py_spy(tmp_path, r"printf 'name: caf\351.jpg\n'", monkeypatch)
        (message,) = dump_stacks(tmp_path)

    assert message["problem"] == ""
    assert "name: caf\ufffd.jpg" in (tmp_path / "rank-0000.stack.log").read_text(encoding="utf-8")


def test_without_py_spy_the_evidence_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    with rank(tmp_path, "0"):
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        monkeypatch.setenv("PATH", str(tmp_path))
        found = dump_stacks(tmp_path)

    assert "py-spy is not installed beside this Python; `pip install py-spy`" in found[0]["problem"]
    assert found[0]["problem"] in (tmp_path / "rank-0000.stack.log").read_text()
    json.dumps(found)  # it is a message


def test_what_py_spy_said_when_it_was_not_allowed_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    with rank(tmp_path, "0"):
        fake_py_spy(tmp_path, "echo Permission denied >&2; exit 1", monkeypatch)
        (message,) = dump_stacks(tmp_path)

    assert "py-spy ended with code 1: Permission denied" in message["problem"]
    assert "CAP_SYS_PTRACE" in message["problem"]


def test_a_py_spy_that_hangs_is_given_up(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(ranks, "_DUMP_TIMEOUT_S", 0.5)
    with rank(tmp_path, "0"):
        fake_py_spy(tmp_path, "exec sleep 60", monkeypatch)
        (message,) = dump_stacks(tmp_path)

    assert "timed out" in message["problem"]


def test_a_second_dump_is_added_to_the_first(tmp_path: Path, monkeypatch: Any) -> None:
    with rank(tmp_path, "0"):
        fake_py_spy(tmp_path, "echo a stack", monkeypatch)
        dump_stacks(tmp_path)
        dump_stacks(tmp_path)

    assert (tmp_path / "rank-0000.stack.log").read_text().count("a stack") == 2


def test_a_disk_without_room_does_not_end_the_agent(tmp_path: Path, monkeypatch: Any) -> None:
    with rank(tmp_path, "0"):
        fake_py_spy(tmp_path, "echo a stack", monkeypatch)
        (message,) = dump_stacks(tmp_path / "gone")

    assert "rank-0000.stack.log cannot be written: No such file or directory" in message["problem"]
