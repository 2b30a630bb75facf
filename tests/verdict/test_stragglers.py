"""The rank that is slower than its siblings is named, where waiting for one another hides it from the totals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evidence.bundle import read_run
from expected import Topology
from tests.verdict.bundles import STEADY, Plan, a_cell, build
from verdict.judge import judge_run
from verdict.metrics.stragglers import stragglers

EIGHT = replace(STEADY, topology=Topology(1, 8))


def evidence_of(plan: Plan, folder: Path, forward: dict[int, float]) -> object:
    """All ranks take as long for a step, because each waits for the slowest; their forward passes differ."""
    bundle = build(plan)
    for rank, factor in forward.items():
        for window in bundle.all("window", rank):
            window["forward_ns"] = int(window["forward_ns"] * factor)
    return read_run(bundle.write(folder))


def test_a_slow_rank_is_named_with_its_card(tmp_path: Path) -> None:
    (slow,) = stragglers(evidence_of(EIGHT, tmp_path / "run", {3: 1.1}))

    assert (slow.rank, slow.host, slow.card) == (3, "node0", 3)
    assert slow.slower == pytest.approx(0.1, abs=1e-3)
    assert str(slow) == "rank 3 (card 3 of node0) is 10% slower than its siblings"


def test_the_slowest_comes_first(tmp_path: Path) -> None:
    found = stragglers(evidence_of(EIGHT, tmp_path / "run", {2: 1.1, 5: 1.3, 6: 1.2}))

    assert [one.rank for one in found] == [5, 6, 2]


@pytest.mark.parametrize("factor", [1.0, 1.04, 0.5])
def test_small_differences_and_fast_ranks_are_not_named(factor: float, tmp_path: Path) -> None:
    assert stragglers(evidence_of(EIGHT, tmp_path / "run", {3: factor})) == ()


def test_one_rank_alone_has_no_siblings(tmp_path: Path) -> None:
    assert stragglers(evidence_of(replace(STEADY, topology=Topology(1, 1)), tmp_path / "run", {0: 2.0})) == ()


def test_ranks_without_a_forward_pass_name_nobody(tmp_path: Path) -> None:
    assert stragglers(evidence_of(STEADY, tmp_path / "run", {0: 0.0})) == ()


def test_a_rate_that_fails_names_the_slow_rank_and_one_that_passes_does_not(tmp_path: Path) -> None:
    plan = replace(EIGHT, slower={3: 1.1})
    evidence = read_run(build(plan).write(tmp_path / "run"))
    published = 8 * 4 * (1 - 1 / 28) / 0.040  # images of a step over its time, on eight fast cards

    verdict = judge_run(evidence, a_cell(plan, p_core=published, p_train=1.0))

    assert verdict.metrics["p_core"].verdict == "fail"
    assert "rank 3 (card 3 of node0) is 10% slower" in verdict.metrics["p_core"].reason
    assert verdict.metrics["p_train"].verdict == "pass"
    assert "slower" not in verdict.metrics["p_train"].reason


def test_a_rate_that_is_undecided_names_the_slow_rank(tmp_path: Path) -> None:
    plan = replace(EIGHT, slower={3: 1.1}, steps=60)
    evidence = read_run(build(plan).write(tmp_path / "run"))

    verdict = judge_run(evidence, a_cell(plan, p_core=1.0))

    assert verdict.metrics["p_core"].verdict == "inconclusive"
    assert "rank 3 (card 3 of node0) is 10% slower" in verdict.metrics["p_core"].reason


def test_of_two_ranks_the_slow_one_is_held_against_the_other_alone(tmp_path: Path) -> None:
    (slow,) = stragglers(evidence_of(STEADY, tmp_path / "run", {1: 1.08}))

    assert slow.rank == 1
    assert slow.slower == pytest.approx(0.08, abs=1e-3)


def test_a_warmup_that_was_slow_names_nobody(tmp_path: Path) -> None:
    bundle = build(EIGHT)
    for window in bundle.all("window", rank=3):
        if window["warmup"]:
            window["forward_ns"] *= 5

    assert stragglers(read_run(bundle.write(tmp_path / "run"))) == ()
