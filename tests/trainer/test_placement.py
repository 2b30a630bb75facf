"""Where a rank runs is read from the kernel's own files, on a made-up machine and on this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.placement import card_numa_node, format_list, parse_list, placement

CPUS = st.sets(st.integers(0, 4096))


def machine(folder: Path, nodes: dict[str, str], memory: str = "0-1") -> Path:
    """Return the root of a machine whose nodes have these CPUs."""
    for name, cpus in nodes.items():
        node = folder / "sys" / "devices" / "system" / "node" / name
        node.mkdir(parents=True)
        (node / "cpulist").write_text(cpus + "\n", encoding="ascii")
    status = folder / "proc" / "self" / "status"
    status.parent.mkdir(parents=True)
    status.write_text(f"Name:\tpython\nMems_allowed:\t3\nMems_allowed_list:\t{memory}\n", encoding="ascii")
    return folder


def pci(folder: Path, address: str, node: str) -> Path:
    device = folder / "sys" / "bus" / "pci" / "devices" / address
    device.mkdir(parents=True)
    (device / "numa_node").write_text(node + "\n", encoding="ascii")
    return folder


@given(CPUS)
def test_a_list_that_was_written_reads_the_same(cpus: set[int]) -> None:
    assert parse_list(format_list(cpus)) == sorted(cpus)


@given(CPUS)
def test_a_list_is_as_short_as_it_can_be(cpus: set[int]) -> None:
    begins = sum(cpu - 1 not in cpus for cpu in cpus)

    assert len(list(filter(None, format_list(cpus).split(",")))) == begins


@pytest.mark.parametrize(
    ("text", "numbers"), [("", []), ("\n", []), ("7\n", [7]), ("0-3,8", [0, 1, 2, 3, 8]), ("8,0-1", [0, 1, 8])]
)
def test_a_list_reads_as_the_kernel_means_it(text: str, numbers: list[int]) -> None:
    assert parse_list(text) == numbers


@pytest.mark.parametrize("text", ["a", "0-", "-1", "0-3-5", "0 1", "0-99999999999999", "٣"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no number and no range"):
        parse_list(text)


def test_the_nodes_are_those_of_the_ranks_own_cpus(tmp_path: Path) -> None:
    root = machine(tmp_path, {"node0": "0-3,16-19", "node1": "4-7", "node10": "8-15", "node2": ""})

    assert placement(root, [2, 3, 8]) == {"cpus": "2-3,8", "numa_nodes": [0, 10], "memory_nodes": [0, 1]}


def test_a_machine_that_tells_nothing_has_no_nodes(tmp_path: Path) -> None:
    assert placement(tmp_path, [0]) == {"cpus": "0", "numa_nodes": [], "memory_nodes": []}


def test_files_that_hold_something_else_are_passed_over(tmp_path: Path) -> None:
    root = machine(tmp_path, {"node0": "0-1", "node1": "what?"}, memory="what?")

    assert placement(root, [0]) == {"cpus": "0", "numa_nodes": [0], "memory_nodes": []}


def test_on_this_machine_the_cpus_are_those_that_the_kernel_grants() -> None:
    assert parse_list(placement()["cpus"]) == sorted(os.sched_getaffinity(0))


def test_a_cards_node_is_found_by_its_address_as_tools_write_it(tmp_path: Path) -> None:
    root = pci(tmp_path, "0000:1b:00.0", "1")

    for address in ("0000:1b:00.0", "00000000:1B:00.0", " 0000:1B:00.0\n"):
        assert card_numa_node(address, root) == 1


def test_an_address_in_another_domain_is_another_card(tmp_path: Path) -> None:
    root = pci(pci(tmp_path, "0000:1b:00.0", "0"), "10000:1b:00.0", "1")

    assert (card_numa_node("00010000:1b:00.0", root), card_numa_node("00000000:1b:00.0", root)) == (1, 0)


@pytest.mark.parametrize("node", ["-1", "", "none"])
def test_a_card_whose_node_is_not_told_has_none(tmp_path: Path, node: str) -> None:
    assert card_numa_node("0000:1b:00.0", pci(tmp_path, "0000:1b:00.0", node)) is None


@pytest.mark.parametrize(
    "address", [None, "", "1b:00", "0000:1b:00.9", "../../../../etc", "0000:ff:00.0", "0000:1b:00.0/.."]
)
def test_what_is_no_address_of_a_card_here_has_no_node(tmp_path: Path, address: str | None) -> None:
    assert card_numa_node(address, pci(tmp_path, "0000:1b:00.0", "1")) is None
