"""Hosts that cannot do a run together are told why, each reason once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainer.launch.fitness import CLOCK_TOLERANCE_S, unfit
from trainer.launch.messages import Hello

A = Hello(0, "gpu-1", 1000.0, 1, "abc", True, 29500, ["0"], [["10.0.0.1", 24]], [])
B = replace(A, node=1, host="gpu-2")
HEARD = {0: 1000.0, 1: 1000.0}
NAMES = {0: "node-1", 1: "node-2"}


def test_hosts_that_have_everything_are_fit() -> None:
    assert unfit([A, B], HEARD, NAMES) == []


def test_a_problem_of_both_is_told_once_with_both_names() -> None:
    both = [replace(host, problems=["no data", f"no {host.host}"]) for host in (A, B)]

    assert unfit(both, HEARD, NAMES) == ["node-1, node-2: no data", "node-1: no gpu-1", "node-2: no gpu-2"]


def test_a_problem_of_the_only_host_stands_for_itself() -> None:
    assert unfit([replace(A, problems=["no data"])], HEARD, {}) == ["no data"]


@pytest.mark.parametrize(("off_s", "words"), [(3600.0, "3600 s ahead of"), (-90.0, "90 s behind")])
def test_a_clock_that_is_off_is_named_with_how_far(off_s: float, words: str) -> None:
    (problem,) = unfit([A, replace(B, utc_s=B.utc_s + off_s)], HEARD, NAMES)

    assert problem.startswith(f"node-2: its clock is {words} this machine's")


def test_a_clock_may_be_off_by_as_much_as_starting_takes() -> None:
    assert unfit([A, replace(B, utc_s=B.utc_s - CLOCK_TOLERANCE_S)], HEARD, NAMES) == []


def test_two_names_of_one_machine_are_no_two_hosts() -> None:
    (problem,) = unfit([A, replace(B, host="gpu-1")], HEARD, NAMES)

    assert problem == "node-1 and node-2 are one machine: each calls itself gpu-1; every host needs a name of its own"
