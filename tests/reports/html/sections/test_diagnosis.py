"""Who is at fault, and what to do next: one device or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evidence.bundle import read_run
from evidence.verdict import Verdict
from expected import Topology
from reports.html.pages import state_of
from reports.html.sections.diagnosis import cause, find_culprit, next_step, outlier
from tests.reports.html.runs import TWO_RANKS, all_readings, page_of
from tests.verdict.bundles import Bundle, Plan, build

EIGHT = replace(TWO_RANKS, topology=Topology(2, 4), slower={5: 1.2})


def hotter(bundle: Bundle, host: str, card: int) -> None:
    for sample in bundle.telemetry:
        is_it = (sample.get("host"), sample.get("card")) == (host, card)
        sample.update(temperature_c=90.0 if is_it else 60.0, core_clock_mhz=900.0 if is_it else 1300.0)


@pytest.mark.parametrize(
    ("values", "low", "at"),
    [
        ([60.0, 61.0, 92.0], False, 2),
        ([20.0, 20.0, 19.9], True, None),
        ([20.0, 19.0, 20.0], True, 1),
        ([0.0, 0.0], False, None),
        ([5.0], False, None),
        ([], False, None),
    ],
)
def test_a_tie_singles_out_nobody(values: list[float], low: bool, at: int | None) -> None:
    assert outlier(values, low=low) == at


def test_the_slow_rank_is_the_culprit_with_what_else_sets_its_device_apart(tmp_path: Path) -> None:
    bundle = build(EIGHT)
    hotter(bundle, "node1", 1)

    found = find_culprit(read_run(bundle.write(tmp_path)))

    assert found is not None
    assert (found.rank, found.device, found.signs) == (5, ("node1", 1), ("hottest", "lowest_clock"))
    assert found.words == "rank 5 (device 1 of node1) is 20.0 % slower than the others, hottest, lowest clock"


@pytest.mark.parametrize("slower", [{}, {5: 1.02}, {2: 1.2, 5: 1.2}])
def test_without_one_slow_rank_there_is_no_culprit(tmp_path: Path, slower: dict[int, float]) -> None:
    assert find_culprit(read_run(build(replace(EIGHT, slower=slower)).write(tmp_path))) is None


def told(tmp_path: Path, plan: Plan) -> tuple[str, str]:
    of = page_of(tmp_path, plan)
    state = state_of(of)
    evidence, verdict = of.run.evidence, of.run.verdict
    return cause(evidence, verdict, state.culprit, state.deciding), next_step(
        evidence, verdict, state.verdict, state.culprit
    )


@pytest.mark.parametrize(
    ("plan", "why", "then"),
    [
        (TWO_RANKS, "rank 1 (device 1 of node0) is 10.0 % slower than the others", "--each-card"),
        (replace(TWO_RANKS, slower={}), "No rank stands out", "Compare with an earlier run"),
        (replace(TWO_RANKS, slower={}, wait_ns=30_000_000), "Ranks wait for data 24.2 % of the time.", "storage"),
        (replace(EIGHT, slower={2: 1.2, 5: 1.2}), "Several ranks are slower than the others: rank 2", "Compare"),
    ],
)
def test_cause_and_next_step_follow_from_what_was_measured(tmp_path: Path, plan: Plan, why: str, then: str) -> None:
    # 200 images/s are published of two ranks, so that none of these is fast enough.
    slow = replace(plan, compute_ns=plan.compute_ns * (8 if plan.topology.ranks == 8 else 2))

    found = told(tmp_path, slow)

    assert found[0].startswith(why)
    assert then in found[1]


def test_an_invalid_run_names_its_first_reason_and_how_many_more(tmp_path: Path) -> None:
    bundle = all_readings()
    of = page_of(tmp_path, bundle=bundle)
    verdict = replace(of.run.verdict, outcome=Verdict.INVALID, reasons=("one", "two", "three"))

    assert cause(of.run.evidence, verdict, None) == "one (and 2 more reasons below)"
    assert "run again" in next_step(of.run.evidence, verdict, Verdict.INVALID, None)
