"""A run that has not ended is measured and judged by the functions that judge one that has, and is marked so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.growing import GrowingRun
from evidence.verdict import Verdict, encode_verdict
from expected import load_devices
from tests.support import ROOT
from tests.verdict.beginnings import beginning
from tests.verdict.bundles import STEADY, Plan, a_cell, build
from verdict.checks.invariants import CHECKS, violations
from verdict.judge import Judged, judge_so_far
from verdict.lookup import find_cell
from verdict.metrics.measure import measure
from verdict.metrics.so_far import measure_so_far

STORED = ("cpu-full", "cpu-steady", "virtual-1x2", "virtual-2x8", "virtual-full", "virtual-windows")
LONG = replace(STEADY, steps=400)
RESNET = load_devices()["r300"]


def so_far(tmp_path: Path, plan: Plan, share: float, **expectations: Any) -> Judged:
    run_dir = beginning(build(plan).write(tmp_path / "whole"), tmp_path / "run", share)
    return judge_so_far(GrowingRun(run_dir).read(), RESNET, a_cell(plan, **expectations))


@pytest.mark.parametrize("name", STORED)
def test_what_is_checked_early_holds_of_every_beginning_of_a_sound_run(name: str, tmp_path: Path) -> None:
    whole, devices = ROOT / "tests" / "stored" / name, load_devices()

    for part in range(6):
        evidence = GrowingRun(beginning(whole, tmp_path / str(part), part / 5)).read()
        device, cell = find_cell(evidence, devices)
        assert violations(evidence, cell, {}, backend=device.backend, ended=False) == ()


@pytest.mark.parametrize("plan", [Plan(), LONG, Plan(protocol="epoch", maps=(0.1,))], ids=["full", "steady", "epoch"])
def test_so_it_does_of_runs_with_all_that_shows_their_work(plan: Plan, tmp_path: Path) -> None:
    whole = build(plan).write(tmp_path / "whole")

    for part in range(9):
        evidence = GrowingRun(beginning(whole, tmp_path / str(part), part / 8)).read()
        assert violations(evidence, a_cell(plan), {}, backend=plan.backend, ended=False) == ()


def test_the_checks_that_need_the_end_are_few() -> None:
    assert {one.id for one in CHECKS.values() if one.at_end} == {
        *("booted", "all-ranks-reported", "world-size", "optimization-ledger", "epochs-complete", "evaluations-made"),
        *("map-by-pycocotools", "steady-steps", "all-measured", "clock-tested", "agent-agrees", "memory"),
        "memory-of-workload",
    }


@pytest.mark.parametrize("plan", [Plan(), LONG], ids=["full", "steady"])
def test_the_numbers_of_a_run_that_is_all_but_over_are_those_of_the_run(plan: Plan, tmp_path: Path) -> None:
    whole = build(plan).write(tmp_path / "whole")
    expected = measure(read_run(whole))

    found = measure_so_far(GrowingRun(beginning(whole, tmp_path / "run", 1.0)).read(), plan.topology.ranks)

    assert {name: one.value for name, one in found.items() if name in expected} == {
        name: one.value for name, one in expected.items()
    }


def test_a_rate_is_of_the_steps_that_all_ranks_have_taken(tmp_path: Path) -> None:
    whole = build(replace(LONG, slower={1: 1.2})).write(tmp_path / "whole")
    run_dir = beginning(whole, tmp_path / "run", 0.9)
    content = (whole / "rank-0001.jsonl").read_bytes()
    (run_dir / "rank-0001.jsonl").write_bytes(content[: len(content) // 2])  # as from a host that is slow to report

    found = measure_so_far(GrowingRun(run_dir).read(), 2)["p_core"]

    assert found.n < 0.6 * LONG.steps
    assert found.value == pytest.approx(2 * 4e9 / (1.2 * LONG.compute_ns), rel=0.05)


def test_most_of_a_steady_run_has_its_rates_and_verdicts_are_marked(tmp_path: Path) -> None:
    run = so_far(tmp_path, replace(LONG, steps=3000, window=50), 0.95, p_core=150.0, mem=20.0)

    metrics = run.verdict.metrics
    assert (metrics["p_core"].verdict, metrics["mem"].verdict) == (Verdict.PASS, Verdict.PASS)
    assert metrics["p_train"].verdict is Verdict.RECORDED
    assert "e2e_time is not measured: protocol steady" in metrics["e2e_time"].reason
    assert run.verdict.provisional
    assert encode_verdict(run.verdict)["provisional"] is True


def test_what_the_rest_of_the_run_can_turn_is_not_judged(tmp_path: Path) -> None:
    run = so_far(tmp_path, replace(Plan(), maps=(0.21, 0.25, 0.38)), 0.5, e2e_time=60.0, map=0.36)

    metrics = run.verdict.metrics
    assert metrics["e2e_time"].measured is not None
    assert metrics["map"].measured == 0.21
    assert {metrics[name].verdict for name in ("e2e_time", "map")} == {Verdict.MISSING}
    assert metrics["map"].reason == "map is not known before the run has ended"


def test_time_that_is_over_already_fails_for_good(tmp_path: Path) -> None:
    run = so_far(tmp_path, Plan(), 0.9, e2e_time=5.0)

    assert run.verdict.metrics["e2e_time"].verdict is Verdict.FAIL


def test_p_whole_waits_for_the_first_evaluation(tmp_path: Path) -> None:
    before, after = (so_far(tmp_path / str(share), Plan(), share, p_whole=100.0) for share in (0.3, 0.7))

    assert before.verdict.metrics["p_whole"].measured is None
    assert before.verdict.metrics["p_train"].measured is not None
    assert after.verdict.metrics["p_whole"].measured is not None


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
def test_before_its_first_steps_a_run_has_shown_nothing(share: float, tmp_path: Path) -> None:
    run = so_far(tmp_path, LONG, share, p_core=150.0)

    assert run.verdict.outcome is Verdict.MISSING
    assert run.verdict.reasons[0] == "e2e_time is not measured: protocol steady does not measure it"


def test_rates_of_different_parts_of_the_run_need_not_fit_together(tmp_path: Path) -> None:
    """p_whole is of the first epoch; after it the device became slower, so that p_train is below it."""
    bundle = build(replace(Plan(), maps=(0.21, 0.25, 0.38)))
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            if window["epoch"] > 0:
                window["wall_ns"] = 10 * window["wall_ns"]
    for events in bundle.ranks.values():
        begun = next(one["t_ns"] for one in events if one["event"] == "epoch_begin" and one["epoch"] == 1)
        for event in events:
            event["t_ns"] += 9 * max(0, event["t_ns"] - begun)
    run_dir = beginning(bundle.write(tmp_path / "whole"), tmp_path / "run", 0.6)

    run = judge_so_far(GrowingRun(run_dir).read(), RESNET, a_cell(Plan()))

    assert run.measurements["p_train"].value < run.measurements["p_whole"].value
    assert run.verdict.outcome is not Verdict.INVALID, run.verdict.reasons


def test_ranks_whose_files_are_elsewhere_are_not_left_out(tmp_path: Path) -> None:
    run_dir = beginning(build(LONG).write(tmp_path / "whole"), tmp_path / "run", 0.8)
    (run_dir / "rank-0001.jsonl").unlink()

    assert measure_so_far(GrowingRun(run_dir).read(), 2) == {}
