"""Known truth: how often the verdict on a device of known speed is wrong, and what the advice to go on is worth."""

from __future__ import annotations

import pytest

from benchmarks import operating_curve
from benchmarks.operating_curve import CORRELATIONS, DOCS, STEPS, Point, operating_point, published, simulated_runs
from evidence.bundle import Evidence
from evidence.verdict import MetricVerdict, Verdict
from verdict.judge import judge_metric
from verdict.metrics.statistics import steps_to_decide
from verdict.metrics.throughput import p_core

RUNS = 2000


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_a_device_seven_percent_too_slow_passes_in_one_run_of_a_hundred_at_most(correlation: float) -> None:
    point = operating_point(-7, correlation, RUNS)

    assert point.runs == RUNS
    assert point.share(Verdict.PASS) <= 0.01
    assert point.share(Verdict.FAIL) > 0.5  # never to pass anything would be no art
    assert documented(-7, correlation) == in_percent(point)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_a_device_that_delivers_fails_in_one_run_of_a_hundred_at_most(correlation: float) -> None:
    point = operating_point(0, correlation, RUNS)

    assert point.runs == RUNS
    assert point.share(Verdict.FAIL) <= 0.01
    assert point.share(Verdict.PASS) > 0.95
    assert documented(0, correlation) == in_percent(point)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_a_device_at_the_bound_passes_no_more_often_than_one_tail_of_the_interval(correlation: float) -> None:
    point = operating_point(-5, correlation, RUNS // 2)

    # One tail of a 95 % interval has 2.5 %; the slowest rank decides, so it is less.
    assert point.share(Verdict.PASS) <= 0.025
    # Each rank may look too slow by chance, so it is up to two tails, and a little for correlated steps.
    assert point.share(Verdict.FAIL) <= 0.08
    assert point.share(Verdict.INCONCLUSIVE) > 0.9


@pytest.mark.parametrize(("correlation", "offset_percent"), [(0.5, -6), (0.5, -4), (0.8, -6), (0.8, -4), (0.8, -3)])
def test_as_many_more_steps_as_advised_decide_more_often_than_not(correlation: float, offset_percent: int) -> None:
    undecided = decided = 0
    for evidence in simulated_runs(offset_percent, correlation, 150):
        first = judged(evidence)
        more = advice(first) if first.verdict == Verdict.INCONCLUSIVE else None
        if more is None:
            continue
        undecided += 1
        longer = next(simulated_runs(offset_percent, correlation, 1, steps=STEPS + min(more, 5000)))
        decided += judged(longer).verdict != Verdict.INCONCLUSIVE

    assert undecided >= 20
    assert decided > 0.55 * undecided


def judged(evidence: Evidence) -> MetricVerdict:
    return judge_metric("p_core", published(), p_core(evidence))


def advice(verdict: MetricVerdict) -> int | None:
    assert verdict.measured is not None
    assert verdict.interval is not None
    assert verdict.low is not None
    return steps_to_decide(verdict.measured, verdict.interval, verdict.low, STEPS)


def test_a_quick_try_prints_its_points_and_leaves_the_document_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = (DOCS / "operating-curve.md").read_bytes()

    code = operating_curve.main(["--runs", "3", "--points", "-20", "5"])

    assert code == 0
    assert "correlation 0.0, -20 %: pass 0.0%, fail 100.0%, inconclusive 0.0%" in capsys.readouterr().out
    assert (DOCS / "operating-curve.md").read_bytes() == before


@pytest.mark.parametrize("words", [["--runs", "0"], ["--points", "-100"], ["--points"]])
def test_nonsense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        operating_curve.main(words)

    assert refusal.value.code == 2


def documented(offset_percent: int, correlation: float) -> list[str]:
    """What docs/ says of a point: percent of pass, fail and inconclusive."""
    speed = f"{offset_percent:+d} %" if offset_percent else "0 %"
    page = (DOCS / "operating-curve.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    row = next(row for row in rows if row[0] == speed)
    first = rows[0].index(f"pass, {correlation:g}")
    return row[first : first + 3]


def in_percent(point: Point) -> list[str]:
    return [f"{100 * point.share(verdict):.2f}" for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)]
