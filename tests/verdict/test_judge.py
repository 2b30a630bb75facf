"""The six verdicts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.bundle import read_run
from evidence.errors import SuiteError
from evidence.verdict import Interval, JudgedCell, RunVerdict, Verdict
from expected import METRICS, Expectation
from tests.support import cell_of
from tests.verdict.bundles import EPOCH, STEADY, Plan, a_cell, build, published, reached_by, with_timing
from verdict.checks.workload import fingerprint
from verdict.judge import against_bounds, judge_metric, judge_run
from verdict.metrics.measure import measure
from verdict.metrics.measurement import Measurement

FULL = Plan()
P_CORE = published("p_core", 200.0)
E2E = published("e2e_time", 100.0)
MAP = published("map", 0.364)
MEM = published("mem", 20.0)
MEM_NEARLY_FULL = published("mem", 31.9)
BOTH_SIDES = Expectation("published", 100.0, 90.0, 110.0)
UNPUBLISHED = Expectation("unpublished", source="a table")
COVERED = replace(P_CORE, covered=320.0)
ACCEPTED = Expectation("accepted", 200.0, 194.0, source="accepted in site.toml: mean of 3 runs", clock="device")


def a_measurement(metric: str, value: float, interval: Interval | None = None, n: int = 400) -> Measurement:
    return Measurement(metric, value, METRICS["p_core"].unit, interval, "a clock", "rank-0000.jsonl", n)


def rate(value: float, half: float = 1.0) -> Measurement:
    return a_measurement("p_core", value, Interval(value - half, value + half))


TEN_STEPS = a_measurement("p_core", 205.0, n=10)


def judged(tmp_path: Path, plan: Plan = FULL, timing: str = "device", **expectations: Any) -> RunVerdict:
    cell = with_timing(a_cell(plan, **expectations), timing)
    return judge_run(read_run(build(plan).write(tmp_path / "run")), cell, backend=plan.backend)


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


def test_a_sound_run_that_reaches_every_number_passes(tmp_path: Path) -> None:
    verdict = judged(tmp_path, e2e_time=20.0, p_whole=130.0, p_train=170.0, p_core=190.0, map=0.38, mem=20.0)

    assert verdict.outcome == Verdict.PASS
    assert verdict.reasons == ()
    assert list(verdict.metrics) == list(METRICS)
    assert {metric.verdict for metric in verdict.metrics.values()} == {Verdict.PASS}
    assert verdict.cell.id == "r300-1x2-fp32-bs4"
    assert verdict.cell.topology == "1x2"
    assert (verdict.protocol, verdict.simulated) == ("full", False)


@pytest.mark.parametrize(
    ("plan", "expectations", "outcome"),
    [
        (FULL, {}, Verdict.RECORDED),
        (FULL, {"map": 0.3}, Verdict.RECORDED),
        (FULL, {"map": 0.9}, Verdict.FAIL),
        (FULL, {"p_core": 400.0, "map": 0.3}, Verdict.FAIL),
        (EPOCH, {"map": 0.3}, Verdict.MISSING),
        (EPOCH, {"p_core": 400.0}, Verdict.FAIL),
        (STEADY, {"p_core": Expectation("accepted", 190.0, 180.0)}, Verdict.MISSING),
        (replace(FULL, maps=(0.1,), epochs=1), {"map": 0.05, "e2e_time": 1e6}, Verdict.MISSING),
        (replace(STEADY, steps=15), {"p_core": 190.0}, Verdict.INCONCLUSIVE),
        (replace(STEADY, steps=15), {"p_core": 190.0, "mem": 10.0}, Verdict.FAIL),
    ],
)
def test_the_outcome_is_the_worst_of_the_metrics(
    plan: Plan, expectations: dict[str, Any], outcome: str, tmp_path: Path
) -> None:
    verdict = judged(tmp_path, plan, **expectations)

    assert verdict.outcome == outcome
    assert verdict.outcome == Verdict.worst(one.verdict for one in verdict.metrics.values())
    assert len(verdict.reasons) == sum(one.verdict != Verdict.PASS for one in verdict.metrics.values())


def test_the_first_reason_is_the_worst_and_not_what_was_only_recorded(tmp_path: Path) -> None:
    # The table has e2e_time and the rates, which are unpublished here, before mem.
    verdict = judged(tmp_path, map=0.38, mem=10.0)

    assert verdict.outcome == Verdict.FAIL
    assert verdict.reasons[0] == verdict.metrics["mem"].reason
    by_reason = {one.reason: one.verdict for one in verdict.metrics.values()}
    places = [list(Verdict).index(by_reason[reason]) for reason in verdict.reasons]
    assert places == sorted(places)


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


def test_a_steady_run_that_is_too_short_is_told_how_many_steps_are_needed(tmp_path: Path) -> None:
    verdict = judged(tmp_path, replace(STEADY, steps=60), p_core=190.0)

    assert verdict.metrics["p_core"].verdict == Verdict.INCONCLUSIVE
    assert "comes from 60 steps" in verdict.metrics["p_core"].reason
    assert "too few for a confidence interval; at least 2440 more steps are" in verdict.metrics["p_core"].reason


def test_a_steady_run_that_cannot_show_rare_stalls_decides_nothing_published(tmp_path: Path) -> None:
    for number in (1.0, 190.0, 1000.0):
        verdict = judged(tmp_path, STEADY, p_core=number).metrics["p_core"]

        assert verdict.verdict == Verdict.INCONCLUSIVE
        assert "too few to show rare stalls and slow changes; at least 2380 more steps are needed" in verdict.reason


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


def test_the_workload_stands_beside_the_rates(tmp_path: Path) -> None:
    verdict = judged(tmp_path)

    assert verdict.workload is not None
    assert verdict.workload == fingerprint(read_run(tmp_path / "run"))


def test_a_simulated_run_is_told_as_one(tmp_path: Path) -> None:
    assert judged(tmp_path, replace(FULL, device="virtual", simulated=True)).simulated


def test_an_interval_that_straddles_the_bound_is_inconclusive(tmp_path: Path) -> None:
    plan = replace(FULL, jitter=40)
    value = measure(read_run(build(plan).write(tmp_path / "first")))["p_core"].value
    bound = Expectation("accepted", value, value * 0.9999)

    verdict = judged(tmp_path, plan, p_core=bound)

    assert verdict.outcome == Verdict.INCONCLUSIVE
    assert "more steps would decide" in verdict.metrics["p_core"].reason


@pytest.mark.parametrize(("timing", "name"), [("host", "p_core_host"), ("device", "p_core")])
def test_a_published_p_core_is_held_against_the_clock_that_it_was_read_with(
    timing: str, name: str, tmp_path: Path
) -> None:
    metrics = measure(read_run(build(FULL).write(tmp_path / "other")))

    verdict = judged(tmp_path, timing=timing, p_core=190.0)

    assert verdict.metrics["p_core"].measured == metrics[name].value
    assert verdict.metrics["p_core"].method.startswith(metrics[name].method)
    assert ("p_core_host" in verdict.metrics["p_core"].method) == (timing == "host")
    assert verdict.cell.timing == timing


@pytest.mark.parametrize(("clock", "name"), [("device", "p_core"), ("host", "p_core_host"), ("", "p_core_host")])
def test_an_accepted_p_core_is_held_against_the_clock_that_it_was_accepted_from(
    clock: str, name: str, tmp_path: Path
) -> None:
    metrics = measure(read_run(build(FULL).write(tmp_path / "other")))

    verdict = judged(tmp_path, timing="host", p_core=replace(ACCEPTED, clock=clock)).metrics["p_core"]

    assert verdict.measured == metrics[name].value
    assert (verdict.expected, verdict.low, verdict.source) == (ACCEPTED.value, ACCEPTED.low, ACCEPTED.source)


def test_an_unpublished_p_core_is_always_the_devices(tmp_path: Path) -> None:
    metrics = measure(read_run(build(FULL).write(tmp_path / "other")))

    verdict = judged(tmp_path, timing="host")

    assert verdict.metrics["p_core"].measured == metrics["p_core"].value
    assert verdict.metrics["p_core"].verdict == Verdict.RECORDED


def test_a_host_clock_does_not_help_a_slow_device_with_a_device_timed_number(tmp_path: Path) -> None:
    plan = replace(FULL, host_ns=10_000_000)

    assert judged(tmp_path, plan, timing="device", p_core=300.0).metrics["p_core"].verdict == Verdict.FAIL


def test_what_does_not_apply_is_not_in_the_verdict(tmp_path: Path) -> None:
    verdict = judged(tmp_path, map=Expectation("not_applicable"), e2e_time=Expectation("not_applicable"))

    assert list(verdict.metrics) == ["p_whole", "p_train", "p_core", "mem"]


def test_a_cell_to_which_nothing_applies_proves_nothing(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {name: Expectation("not_applicable") for name in METRICS}

    verdict = judged(tmp_path, **nothing)

    assert verdict.outcome == Verdict.INVALID
    assert verdict.metrics == {}
    assert "no metric applies" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("plan", "name", "reason"),
    [
        (EPOCH, "map", "map is not measured: protocol epoch does not measure it"),
        (STEADY, "p_whole", "p_whole is not measured: protocol steady does not measure it"),
        (
            replace(FULL, maps=(0.1,), epochs=1),
            "e2e_time",
            "e2e_time is not measured: the run was shortened to 1 of 4 epochs and ended before the target mAP",
        ),
    ],
)
def test_a_missing_metric_says_why_it_is_missing(plan: Plan, name: str, reason: str, tmp_path: Path) -> None:
    result = judged(tmp_path, plan).metrics[name]

    assert (result.verdict, result.reason) == (Verdict.MISSING, reason)


def test_a_verdict_names_the_parts_of_its_cell(tmp_path: Path) -> None:
    cell = replace(a_cell(STEADY), card=3)

    verdict = judge_run(read_run(build(STEADY).write(tmp_path / "run")), cell)

    assert verdict.cell == JudgedCell("r300-1x2-fp32-bs4-card3", "r300", "1x2", "fp32", 4, 0.02, "device", 3)


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


def test_a_replay_against_another_number_gives_another_verdict(tmp_path: Path) -> None:
    assert judged(tmp_path, map=0.38).metrics["map"].verdict == Verdict.PASS
    assert judged(tmp_path, map=0.40).metrics["map"].verdict == Verdict.FAIL


def test_a_sites_value_from_another_protocol_is_not_held_against_the_run(tmp_path: Path) -> None:
    accepted = Expectation("accepted", 190.0, 150.0, None, None, "accepted in site.toml", "device", "full")
    evidence = read_run(build(STEADY).write(tmp_path / "run"))

    other = judge_run(evidence, a_cell(STEADY, p_core=accepted)).metrics["p_core"]
    same = judge_run(evidence, a_cell(STEADY, p_core=replace(accepted, protocol="steady"))).metrics["p_core"]

    assert (other.verdict, same.verdict) == ("missing", "pass")
    assert other.reason == "p_core was accepted from runs of protocol full, and this is a steady run"


def test_a_published_host_timed_number_needs_a_run_that_was_timed_so(tmp_path: Path) -> None:
    cell = with_timing(a_cell(STEADY, p_core=190.0), "host")
    bundle = build(STEADY)
    bundle.one("start", rank=1)["host_clock"] = False

    verdict = judge_run(read_run(bundle.write(tmp_path / "run")), cell)

    assert verdict.outcome == "invalid"
    assert "rank 1: found host_clock False, expected true" in verdict.reasons[0]
    assert judge_run(read_run(build(STEADY).write(tmp_path / "good")), cell).metrics["p_core"].verdict == "inconclusive"


def test_a_rank_that_does_not_say_how_it_was_timed_was_not_timed_so(tmp_path: Path) -> None:
    bundle = build(STEADY)
    bundle.one("start", rank=1)["host_clock"] = None

    verdict = judge_run(read_run(bundle.write(tmp_path / "run")), with_timing(a_cell(STEADY, p_core=190.0), "host"))

    assert verdict.outcome == "invalid"
    assert verdict.reasons[0].startswith("rank 1: found host_clock None")


def test_what_is_not_published_needs_no_such_run(tmp_path: Path) -> None:
    bundle = build(STEADY)
    for rank in bundle.ranks:
        bundle.one("start", rank)["host_clock"] = None

    verdict = judge_run(read_run(bundle.write(tmp_path / "run")), with_timing(a_cell(STEADY, mem=30.0), "host"))

    assert verdict.metrics["mem"].verdict == "pass"


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


def test_a_metric_of_no_table_is_recorded_beside_the_others_and_decides_nothing(tmp_path: Path) -> None:
    verdict = judged(tmp_path, e2e_time=20.0, p_whole=130.0, p_train=170.0, p_core=190.0, map=0.38, mem=20.0)

    assert verdict.outcome == Verdict.PASS
    assert "epochs_to_target" not in verdict.metrics
    (further,) = verdict.further.values()
    assert (further.metric, further.measured, further.verdict) == ("epochs_to_target", 2.0, Verdict.RECORDED)
    assert further.reason == "epochs_to_target 2 epochs: no number is published"


@pytest.mark.parametrize(
    ("value", "plan", "outcome"),
    [
        (2.0, FULL, Verdict.PASS),
        (9.0, FULL, Verdict.FAIL),
        (2.0, replace(FULL, maps=(0.1,) * 4), Verdict.MISSING),
    ],
)
def test_a_metric_of_no_table_that_has_a_number_is_judged_as_every_other(
    value: float, plan: Plan, outcome: Verdict, tmp_path: Path
) -> None:
    known = Expectation("derived", value, value - 2, value + 2)

    verdict = judged(tmp_path, plan, epochs_to_target=known, **reached_by(plan))

    assert verdict.metrics["epochs_to_target"].verdict == outcome
    assert verdict.outcome == outcome
    assert verdict.further == {}


def test_of_broken_evidence_nothing_is_recorded(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.run["boot"]["exit_code"] = 7

    verdict = judge_run(read_run(bundle.write(tmp_path / "run")), a_cell(FULL))

    assert (verdict.outcome, verdict.further) == (Verdict.INVALID, {})


@pytest.mark.parametrize(("published_map", "noted"), [(0.364, True), (0.38, False)])
def test_a_map_that_cannot_fail_by_construction_says_so(published_map: float, noted: bool, tmp_path: Path) -> None:
    verdict = judged(tmp_path, map=published_map).metrics["map"]

    assert verdict.verdict == Verdict.PASS
    assert bool(verdict.note) is noted
    assert (
        "training stops at the first map of 0.36 or more, so a run that gets there cannot fail" in verdict.reason
    ) is noted


@pytest.mark.parametrize(
    ("own", "verdict", "says"),
    [
        ({"train2017": "ab" * 32, "val2017": "ab" * 32}, Verdict.PASS, ""),
        ({}, Verdict.PASS, ""),
        (
            {"val2017": "cd" * 32},
            Verdict.MISSING,
            "accepted from runs on val2017 annotations of SHA-256 cdcdcdcdcdcd...",
        ),
        ({"test2017": "cd" * 32}, Verdict.MISSING, "some that it did not record"),
    ],
)
def test_an_accepted_value_is_held_against_runs_on_its_own_annotations_only(
    own: dict[str, str], verdict: Verdict, says: str, tmp_path: Path
) -> None:
    result = judged(tmp_path, p_core=replace(ACCEPTED, value=190.0, low=150.0, annotations=own))

    assert result.metrics["p_core"].verdict == verdict
    assert says in result.metrics["p_core"].reason
