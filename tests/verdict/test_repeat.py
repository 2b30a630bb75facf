"""Several boots of a cell, judged together: all count, and none is chosen."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from evidence.bundle import read_run
from evidence.verdict import Interval, Verdict
from tests.support import device_of
from tests.verdict.bundles import STEADY, Bundle, Plan, a_cell, build
from verdict.judge import Judged, judge, judge_together
from verdict.metrics.measure import together
from verdict.metrics.measurement import Measurement

PLAN = replace(STEADY, steps=2500, window=100)  # on two ranks enough to be held against a published number


def boot(value: float, half: float = 0.1, n: int = 400, between: float = 0.01) -> Measurement:
    within = Interval(value - half, value + half)
    return Measurement("p_core", value, "images/s", within, "a clock", "f", n, within=within, between=between)


def half_width(found: Measurement) -> float:
    assert found.value - found.interval.low == pytest.approx(found.interval.high - found.value)
    return found.interval.high - found.value


def test_the_rate_of_several_boots_is_that_of_all_their_steps() -> None:
    assert together([boot(100.0), boot(50.0)]).value == pytest.approx(2 / (1 / 100 + 1 / 50))
    assert together([boot(100.0, n=100), boot(50.0, n=300)]).value == pytest.approx(400 / (100 / 100 + 300 / 50))
    assert together([boot(100.0), boot(100.0)]).n == 800


def test_the_spread_of_three_boots_is_measured() -> None:
    found = together([boot(99.0), boot(100.0), boot(101.0)])

    assert half_width(found) == pytest.approx(4.3027 * 1.0 / math.sqrt(3), rel=1e-3)  # Student's t, 2 degrees


def test_of_two_boots_the_assumed_spread_counts_or_theirs_if_that_is_larger() -> None:
    alike, apart = together([boot(100.0), boot(100.0)]), together([boot(96.0), boot(104.0)])

    within = 0.1 / math.sqrt(2)
    assert half_width(alike) == pytest.approx(math.hypot(1.96 * 1.0 / math.sqrt(2), within), rel=1e-3)
    assert half_width(apart) == pytest.approx(math.hypot(1.96 * math.sqrt(32) / math.sqrt(2), within), rel=5e-3)


def test_boots_that_agree_by_chance_leave_what_their_steps_scatter() -> None:
    found = together([boot(100.0, half=2.0), boot(100.0, half=2.0), boot(100.0, half=2.0)])

    assert half_width(found) == pytest.approx(2.0 / math.sqrt(3))
    assert found.within == found.interval


def test_boots_on_simulated_time_have_the_spread_that_they_show() -> None:
    assert half_width(together([boot(100.0, between=0.0), boot(100.0, between=0.0)])) == pytest.approx(
        0.1 / math.sqrt(2)
    )


def test_one_boot_without_an_interval_leaves_none() -> None:
    found = together([boot(100.0), replace(boot(50.0), interval=None, within=None)])

    assert (found.interval, found.within) == (None, None)
    assert found.value == pytest.approx(2 / (1 / 100 + 1 / 50))


def test_the_largest_mem_counts_and_of_other_metrics_the_mean() -> None:
    mem = [
        Measurement("mem", value, "GiB", None, "m", "f", 5, doubt=doubt) for value, doubt in ((3, "rising"), (4, ""))
    ]
    maps = [Measurement("map", value, "0..1", None, "m", "f", 5) for value in (0.36, 0.38)]

    assert (together(mem).value, together(mem).doubt) == (4, "rising")
    assert together(maps).value == pytest.approx(0.37)


def judged(folder: Path, *plans: Plan | Bundle, p_core: float = 190.0) -> Judged:
    device, cell = device_of("r300"), a_cell(PLAN, p_core=p_core)
    bundles = [build(plan) if isinstance(plan, Plan) else plan for plan in plans]
    runs = [read_run(bundle.write(folder / f"run-{at}")) for at, bundle in enumerate(bundles)]
    return judge_together([judge(run, device, cell) for run in runs])


def test_a_boot_that_is_slow_makes_the_fast_ones_fail(tmp_path: Path) -> None:
    fast, slow = PLAN, replace(PLAN, compute_ns=52_000_000)

    best = judged(tmp_path / "best", fast, fast, fast).verdict.metrics["p_core"]
    all_of_them = judged(tmp_path / "all", fast, slow, fast).verdict.metrics["p_core"]

    assert best.verdict == Verdict.PASS
    assert best.method.startswith("mean of 3 runs; each: images of 2 ranks / compute time")
    assert all_of_them.verdict == Verdict.INCONCLUSIVE
    assert best.measured is not None
    assert all_of_them.measured == pytest.approx(best.measured * 3 / (2 + 52 / 40), rel=1e-3)


def test_one_boot_that_cannot_be_trusted_makes_all_of_it_invalid(tmp_path: Path) -> None:
    broken = build(PLAN)
    broken.drop("end", 1)

    found = judged(tmp_path, PLAN, broken)
    verdict = found.verdict

    assert [run.evidence.path.name for run in found.runs] == ["run-0", "run-1"]
    assert verdict.outcome == Verdict.INVALID
    assert verdict.reasons[0].startswith("run 2 of 2 (run-1): rank 1: found 0 'end' events")


def test_a_single_boot_is_judged_as_ever(tmp_path: Path) -> None:
    one = judged(tmp_path, PLAN)

    assert (one.runs, one.boots) == ((one,), ())
    assert one.verdict.metrics["p_core"].verdict == Verdict.PASS
