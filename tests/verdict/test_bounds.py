"""A number is held against its bounds with its confidence interval; every verdict says why."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import SuiteError
from evidence.verdict import Interval, Verdict
from expected import METRICS, Expectation
from tests.support import cell_of
from tests.verdict.bundles import published
from verdict.bounds import against_bounds, judge_metric
from verdict.metrics.measurement import Measurement

P_CORE = published("p_core", 200.0)
E2E = published("e2e_time", 100.0)
MAP = published("map", 0.364)
MEM = published("mem", 20.0)
MEM_NEARLY_FULL = published("mem", 31.9)
BOTH_SIDES = Expectation("published", 100.0, 90.0, 110.0)
ACCEPTED = Expectation("accepted", 200.0, 194.0, source="accepted in site.toml: mean of 3 runs", clock="device")
UNPUBLISHED = Expectation("unpublished", source="a table")
COVERED = replace(P_CORE, covered=320.0)


def a_measurement(metric: str, value: float, interval: Interval | None = None, n: int = 400) -> Measurement:
    return Measurement(metric, value, METRICS["p_core"].unit, interval, "a clock", "rank-0000.jsonl", n)


def rate(value: float, half: float = 1.0) -> Measurement:
    return a_measurement("p_core", value, Interval(value - half, value + half))


TEN_STEPS = a_measurement("p_core", 205.0, n=10)


@pytest.mark.parametrize(
    ("metric", "expectation", "measurement", "verdict", "says"),
    [
        (
            "p_core",
            P_CORE,
            rate(205.0),
            Verdict.PASS,
            "p_core 205.0 images/s is at least 190.0 (0.95 x published 200.0)",
        ),
        ("p_core", P_CORE, rate(191.0), Verdict.PASS, "190"),
        ("p_core", P_CORE, rate(185.2), Verdict.FAIL, "p_core 185.2 images/s is below 190.0 (0.95 x published 200.0)"),
        ("p_core", P_CORE, rate(190.5), Verdict.INCONCLUSIVE, "interval, 189.500 to 191.500, straddles 190.0 (0.95 x"),
        ("p_core", P_CORE, rate(189.5), Verdict.INCONCLUSIVE, "about 1200 more steps would decide"),
        ("p_core", P_CORE, rate(189.0), Verdict.INCONCLUSIVE, "about 1 more"),
        ("p_core", P_CORE, rate(190.0), Verdict.INCONCLUSIVE, "no number of steps would decide"),
        (
            "p_core",
            P_CORE,
            TEN_STEPS,
            Verdict.INCONCLUSIVE,
            "10 steps, too few for a confidence interval; at least 6 more",
        ),
        ("p_core", P_CORE, a_measurement("p_core_host", 500.0, n=400), Verdict.INCONCLUSIVE, "at least 1 more"),
        ("e2e_time", E2E, a_measurement("e2e_time", 105.0), Verdict.PASS, "e2e_time 105.0 s is at most 105.0 (1.05 x"),
        ("e2e_time", E2E, a_measurement("e2e_time", 105.01), Verdict.FAIL, "e2e_time 105.01 s is above 105.0 (1.05 x"),
        ("map", MAP, a_measurement("map", 0.36), Verdict.PASS, "0.3600 (published 0.364 - 0.004)"),
        ("map", MAP, a_measurement("map", 0.3599), Verdict.FAIL, "0.36"),
        ("mem", MEM, a_measurement("mem", 21.0), Verdict.PASS, "21.00 (1.05 x published 20.0)"),
        ("mem", MEM, a_measurement("mem", 21.5), Verdict.FAIL, "21"),
        (
            "mem",
            MEM_NEARLY_FULL,
            a_measurement("mem", 32.0),
            Verdict.PASS,
            "32.00 (the device's capacity; published 31.9)",
        ),
        ("mem", MEM_NEARLY_FULL, a_measurement("mem", 32.1), Verdict.FAIL, "32.00 (the device's capacity)"),
        ("mem", Expectation("published", 30.0, None, 99.0, 32.0), a_measurement("mem", 40.0), Verdict.FAIL, "32"),
        ("p_core", BOTH_SIDES, rate(100.0), Verdict.PASS, "90"),
        ("p_core", BOTH_SIDES, rate(120.0), Verdict.FAIL, "110"),
        ("p_core", BOTH_SIDES, rate(109.5), Verdict.INCONCLUSIVE, "110"),
        (
            "p_core",
            BOTH_SIDES,
            rate(95.0, 20.0),
            Verdict.INCONCLUSIVE,
            "straddles 90.0 (0.9 x published 100.0) and 110.0",
        ),
        ("p_core", P_CORE, rate(300.0), Verdict.PASS, "at least 190.0"),
        (
            "p_core",
            P_CORE,
            rate(301.0),
            Verdict.INCONCLUSIVE,
            "is 1.5 times as good as published 200.0, too good to be",
        ),
        ("p_core", COVERED, rate(301.0), Verdict.PASS, "at least 190.0 (0.95 x published 200.0)"),
        (
            "p_core",
            COVERED,
            rate(481.0),
            Verdict.INCONCLUSIVE,
            "2.4 times as good as published 200.0 and 320.0 accepted",
        ),
        ("p_core", COVERED, rate(185.2), Verdict.FAIL, "is below 190.0"),
        ("p_core", ACCEPTED, rate(301.0), Verdict.INCONCLUSIVE, "1.5 times as good as accepted 200.0, too good"),
        ("e2e_time", E2E, a_measurement("e2e_time", 67.0), Verdict.PASS, "at most 105.0"),
        (
            "e2e_time",
            E2E,
            a_measurement("e2e_time", 66.0),
            Verdict.INCONCLUSIVE,
            "1.5 times as good as published 100.0",
        ),
        ("map", MAP, a_measurement("map", 0.9), Verdict.PASS, "0.3600"),
        ("mem", MEM, a_measurement("mem", 1.0), Verdict.PASS, "21.00"),
        ("p_core", ACCEPTED, rate(196.0), Verdict.PASS, "194.0 (0.97 x accepted 200.0)"),
        ("p_core", ACCEPTED, rate(192.0), Verdict.FAIL, "194.0 (0.97 x accepted 200.0)"),
        ("p_core", ACCEPTED, rate(194.5), Verdict.INCONCLUSIVE, "194.0 (0.97 x accepted 200.0)"),
        ("p_core", ACCEPTED, None, Verdict.INVALID, "p_core"),
        ("p_core", UNPUBLISHED, rate(100.0), Verdict.RECORDED, "p_core 100.0 images/s: no number is published"),
        ("p_core", UNPUBLISHED, a_measurement("p_core", 100.0, n=3), Verdict.RECORDED, "100.0"),
        ("p_core", UNPUBLISHED, None, Verdict.INVALID, "p_core"),
        ("p_core", P_CORE, None, Verdict.INVALID, "found no p_core that is a number"),
    ],
)
def test_a_measurement_gets_its_verdict_and_its_reason(
    metric: str, expectation: Expectation, measurement: Measurement | None, verdict: str, says: str
) -> None:
    result = judge_metric(metric, expectation, measurement)

    assert result.verdict == verdict
    assert says in result.reason


@pytest.mark.parametrize(("seconds", "verdict"), [(14_900.0, Verdict.PASS), (14_901.0, Verdict.FAIL)])
def test_an_a100_that_takes_an_epoch_more_at_batch_size_2_passes(seconds: float, verdict: Verdict) -> None:
    cell = cell_of("a100", "1x8")
    assert cell.batch_size == 2

    e2e_time = judge_metric("e2e_time", cell.expectations["e2e_time"], a_measurement("e2e_time", seconds))

    assert e2e_time.verdict is verdict  # published are 14,086 s, and an epoch of 117,266 images at 144 a second


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("metric", list(METRICS))
def test_what_is_no_number_is_invalid_and_not_shown(metric: str, value: float) -> None:
    for expectation in (published(metric, 0.5), UNPUBLISHED):
        result = judge_metric(metric, expectation, a_measurement(metric, value))

        assert result.verdict == Verdict.INVALID
        assert result.measured is None


def test_an_interval_that_is_no_number_is_invalid() -> None:
    result = judge_metric(
        "p_core", published("p_core", 1.0), a_measurement("p_core", 5.0, Interval(math.nan, math.nan))
    )

    assert (result.verdict, result.measured, result.interval) == (Verdict.INVALID, None, None)


@pytest.mark.parametrize(
    ("metric", "low", "high"),
    [
        ("p_core", None, None),
        ("p_core", None, 500.0),
        ("mem", None, None),
        ("mem", 1.0, None),
        ("p_core", math.nan, None),
        ("p_core", -math.inf, None),
        ("mem", None, math.inf),
        ("p_core", 1.0, math.inf),
    ],
)
def test_without_a_bound_that_decides_nothing_passes(metric: str, low: float | None, high: float | None) -> None:
    result = judge_metric(metric, Expectation("published", 10.0, low, high), replace(rate(20.0), metric=metric))

    assert result.verdict == Verdict.INVALID
    assert f"expected a {'high' if metric == 'mem' else 'low'} bound that is a number" in result.reason


def test_broken_evidence_is_invalid_whatever_was_measured() -> None:
    result = judge_metric(
        "p_core", published("p_core", 1.0), rate(500.0), unmeasured="not at all", broken=["a", "b", "c", "d", "e"]
    )

    assert (result.verdict, result.reason) == (Verdict.INVALID, "a; b; c; and 2 more")


def test_what_the_protocol_does_not_measure_is_missing_even_if_unpublished() -> None:
    for expectation in (published("map", 0.3), UNPUBLISHED):
        result = judge_metric("map", expectation, None, unmeasured="map is not measured")

        assert (result.verdict, result.reason, result.measured) == (Verdict.MISSING, "map is not measured", None)


@pytest.mark.parametrize("state", ["not_applicable", "guessed"])
def test_a_metric_that_does_not_apply_is_not_judged(state: str) -> None:
    with pytest.raises(SuiteError, match=state):
        judge_metric("map", Expectation(state), None)


def test_a_metrics_verdict_says_what_was_compared_with_what() -> None:
    result = judge_metric("p_core", P_CORE, rate(205.0))

    assert (result.measured, result.unit, result.interval) == (205.0, "images/s", Interval(204.0, 206.0))
    assert (result.expected, result.low, result.high, result.better) == (200.0, 190.0, None, "higher")
    assert (result.method, result.source) == ("a clock; from rank-0000.jsonl", "a table")


@given(
    value=st.floats(allow_nan=True, allow_infinity=True),
    low=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    high=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    half=st.none() | st.floats(0, 1e6),
    metric=st.sampled_from(list(METRICS)),
)
def test_a_pass_lies_within_finite_bounds(
    value: float, low: float | None, high: float | None, half: float | None, metric: str
) -> None:
    interval = None if half is None else Interval(value - half, value + half)
    expectation = Expectation("published", 1.0, low, high)

    result = judge_metric(metric, expectation, a_measurement(metric, value, interval))

    if result.verdict == Verdict.PASS:
        assert math.isfinite(value)
        assert low is None or (math.isfinite(low) and low <= value - (half or 0))
        assert high is None or (math.isfinite(high) and value + (half or 0) <= high)
        assert (low if METRICS[metric].better == "higher" else high) is not None
        assert interval is not None or not metric.startswith("p_")


def test_what_would_decide_is_a_number_too() -> None:
    undecided = judge_metric("p_core", P_CORE, rate(189.5))
    few = judge_metric("p_core", P_CORE, TEN_STEPS)

    assert (undecided.more_steps, undecided.boots) == (1200, 0)
    assert few.more_steps == 6
    assert judge_metric("p_core", P_CORE, rate(205.0)).more_steps == 0


def test_the_advice_decides_both_bounds() -> None:
    measurement = a_measurement("p_core", 98.0, Interval(88.0, 128.0))

    found = judge_metric("p_core", BOTH_SIDES, measurement)

    assert found.verdict == Verdict.INCONCLUSIVE
    assert "straddles 90.0 (0.9 x published 100.0) and 110.0 (1.1 x published 100.0); about 2100 more" in found.reason


@pytest.mark.parametrize(("independent", "said"), [(2.4, True), (8.0, False)])
def test_a_run_of_few_independent_blocks_says_so(independent: float, said: bool) -> None:
    reason = judge_metric("p_core", P_CORE, replace(rate(190.5), independent=independent)).reason

    assert ("; as speed changes slowly, the run holds about 2.4 independent blocks; about 1200 more" in reason) is said


def test_what_only_more_boots_decide_says_so() -> None:
    wide = replace(rate(192.0), interval=Interval(188.0, 196.0), within=Interval(191.0, 193.0))

    reason = judge_metric("p_core", P_CORE, wide).reason

    assert reason.endswith("no number of steps would decide, but about 4 boots judged together (--repeat)")


def test_the_tolerance_of_an_accepted_value_has_the_spread_between_runs() -> None:
    wide = replace(rate(196.0), interval=Interval(192.0, 200.0), within=Interval(195.0, 197.0))

    found = judge_metric("p_core", ACCEPTED, wide)

    assert (found.verdict, found.interval) == (Verdict.PASS, Interval(195.0, 197.0))


@pytest.mark.parametrize(
    ("interval", "low", "high", "held"),
    [
        ((1.0, 2.0), None, None, (Verdict.PASS, ())),
        ((1.0, 2.0), 1.0, 2.0, (Verdict.PASS, ())),
        ((1.0, 2.0), 2.5, None, (Verdict.FAIL, (2.5,))),
        ((1.0, 2.0), None, 0.5, (Verdict.FAIL, (0.5,))),
        ((1.0, 2.0), 2.0, None, (Verdict.INCONCLUSIVE, (2.0,))),
        ((1.0, 2.0), 1.5, 1.8, (Verdict.INCONCLUSIVE, (1.5, 1.8))),
        ((1.0, 2.0), 1.5, 0.5, (Verdict.FAIL, (0.5,))),
    ],
)
def test_an_interval_lies_within_outside_or_across_its_bounds(
    interval: tuple[float, float], low: float | None, high: float | None, held: Any
) -> None:
    assert against_bounds(Interval(*interval), low, high) == held


def test_three_reasons_are_quoted_whole() -> None:
    assert judge_metric("p_core", P_CORE, None, broken=["a", "b", "c"]).reason == "a; b; c"


EPOCHS = Expectation("derived", 18.89, 16.89, 20.89, source="e2e_time x p_whole / 117266 images")


@pytest.mark.parametrize(
    ("epochs", "verdict", "says"),
    [
        (18.0, Verdict.PASS, "epochs_to_target 18 epochs is at most 20.89 (derived 18.89 + 2)"),
        (17.0, Verdict.PASS, ""),
        (20.0, Verdict.PASS, ""),
        (21.0, Verdict.FAIL, "epochs_to_target 21 epochs is above 20.89 (derived 18.89 + 2)"),
        (
            16.0,
            Verdict.FAIL,
            "epochs_to_target 16 epochs is below 16.89 (derived 18.89 - 2); too soon is as suspicious",
        ),
    ],
)
def test_the_target_is_neither_reached_too_late_nor_too_soon(epochs: float, verdict: Verdict, says: str) -> None:
    judged = judge_metric("epochs_to_target", EPOCHS, a_measurement("epochs_to_target", epochs))

    assert judged.verdict == verdict
    assert says in judged.reason
