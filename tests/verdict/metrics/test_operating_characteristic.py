"""Known truth: how often the verdict on a device of known speed is wrong, and what the advice to go on is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.judging import operating_curve
from benchmarks.judging.noise import KINDS, STALLS, Noise
from benchmarks.judging.operating_curve import (
    DOCS,
    FULL_STEPS,
    LEAST_STEPS,
    RUNS,
    SHORT_STEPS,
    expectation,
    measurements,
    operating_points,
)
from evidence.verdict import Verdict
from verdict.bounds import judge_metric
from verdict.metrics.measurement import Measurement
from verdict.metrics.statistics import steps_to_decide

FAST_NOISE = KINDS[:3]
"""The kinds that forget within some dozen steps, of which 200 steps are enough for the interval of the run alone."""
LENGTHS = (SHORT_STEPS, LEAST_STEPS, FULL_STEPS)
FEW = 100

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "-"))


@kinds
def test_of_a_full_run_neither_answer_is_wrong(kind: Noise) -> None:
    slow, sound = operating_points(kind, FULL_STEPS, (-7, 0), FEW)

    assert slow.count[Verdict.PASS] <= 3  # of a hundred; the document has two thousand
    assert sound.count[Verdict.FAIL] <= 3
    assert sound.count[Verdict.PASS] >= (30 if kind.name == STALLS else 92)


@kinds
def test_a_short_run_of_a_real_device_decides_nothing_that_is_published(kind: Noise) -> None:
    for point in operating_points(kind, SHORT_STEPS, (-30, -7, 0, 5), 20):
        assert point.share(Verdict.INCONCLUSIVE) == 1


def alone(measured: Measurement) -> Measurement:
    """The measurement with the interval of the run alone, whatever its length."""
    return replace(measured, interval=measured.within, decisive=0)


@pytest.mark.parametrize("kind", FAST_NOISE, ids=lambda kind: kind.name.replace(" ", "-"))
def test_the_interval_of_the_run_alone_is_right_where_noise_forgets_quickly(kind: Noise) -> None:
    found = [alone(one) for one in measurements(kind, SHORT_STEPS, RUNS // 2)]

    def share(offset_percent: int, verdict: Verdict) -> float:
        known = expectation(offset_percent)
        return sum(judge_metric("p_core", known, one).verdict is verdict for one in found) / len(found)

    assert share(-7, Verdict.PASS) <= 0.01
    assert share(-7, Verdict.FAIL) > 0.5  # never to pass anything would be no art
    assert share(0, Verdict.FAIL) <= 0.01
    assert share(0, Verdict.PASS) > 0.95
    # One tail of a 95 % interval has 2.5 %, and correlated steps a little more.
    assert max(share(-5, Verdict.PASS), share(-5, Verdict.FAIL)) <= 0.05


@pytest.mark.parametrize(("kind", "offset_percent"), [(1, -6), (1, -4), (2, -6), (2, -4), (2, -3)])
def test_as_many_more_steps_as_advised_decide_more_often_than_not(kind: int, offset_percent: int) -> None:
    known = expectation(offset_percent)
    undecided = decided = 0
    for short in map(alone, measurements(KINDS[kind], SHORT_STEPS, 150)):
        assert short.interval is not None
        assert known.low is not None
        first = judge_metric("p_core", known, short)
        more = steps_to_decide(short.value, short.interval, known.low, SHORT_STEPS)
        if first.verdict is not Verdict.INCONCLUSIVE or more is None:
            continue
        undecided += 1
        (longer,) = measurements(KINDS[kind], SHORT_STEPS + min(more, 5000), 1)
        decided += judge_metric("p_core", known, alone(longer)).verdict is not Verdict.INCONCLUSIVE

    assert undecided >= 20
    assert decided > 0.55 * undecided


@kinds
def test_the_document_says_what_was_simulated(kind: Noise) -> None:
    for steps in LENGTHS:
        slow, fails, passes = documented(kind, steps)

        assert max(slow, fails) <= 1.0
        if steps == FULL_STEPS and kind.name != STALLS:
            assert passes >= 95.0
        if steps == SHORT_STEPS:
            assert passes == 0
        if steps == LEAST_STEPS:
            (sound,) = operating_points(kind, steps, (0,), 100)
            assert 100 * sound.share(Verdict.PASS) == pytest.approx(passes, abs=12)


def documented(kind: Noise, steps: int) -> list[float]:
    """What docs/ says of a kind: percent of 7 % low that pass, of sound that fail and that pass."""
    page = (DOCS / "operating-curve.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    (row,) = (row for row in rows if row[:2] == [kind.name, f"{steps:,}"])
    return [float(cell) for cell in row[2:]]


@kinds
def test_the_speed_of_a_device_is_the_mean_of_its_noise(kind: Noise) -> None:
    times = kind.times(np.random.Generator(np.random.PCG64(5)), (400, 2000))

    assert times.mean() == pytest.approx(1, abs=0.007)
    assert times.min() > 0


def test_a_quick_try_prints_its_points_and_leaves_the_document_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = (DOCS / "operating-curve.md").read_bytes()

    code = operating_curve.main(["--runs", "3", "--kinds", "independent"])

    assert code == 0
    said = capsys.readouterr().out
    assert "7329 steps, independent, -10 %: pass 0.0%, fail 100.0%, inconclusive 0.0%\n" in said
    assert (DOCS / "operating-curve.md").read_bytes() == before


def test_three_boots_of_a_slow_device_do_not_pass_together() -> None:
    (slow,) = operating_curve.boots_points(3, (-6,), 90)

    assert slow.passed <= 0.1
