"""Rates, intervals and how many steps would decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from benchmarks.judging.noise import autoregression
from verdict.metrics.statistics import (
    Interval,
    RateInterval,
    _circular_sums,
    autocorrelation,
    bootstrapped,
    inflated,
    rate_interval,
    rate_per_s,
    sample_starts,
    steps_to_decide,
    t_beyond,
    t_quantile,
    total,
)

STEPS = st.lists(st.tuples(st.integers(1, 64), st.integers(10**6, 10**9)), min_size=16, max_size=120)


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(steps=STEPS)
def test_a_rate_is_total_images_over_total_time(steps: list[tuple[int, int]]) -> None:
    images, times = ints([step[0] for step in steps]), ints([step[1] for step in steps])

    rate = rate_per_s(total(images), total(times))

    assert rate == pytest.approx(sum(images.tolist()) / (sum(times.tolist()) / 1e9), rel=1e-12)


def test_a_rate_is_not_the_mean_of_the_steps_rates() -> None:
    images, times = ints([10, 10]), ints([10**9, 4 * 10**9])

    assert rate_per_s(total(images), total(times)) == 4.0  # the mean of 10 and 2.5 would be 6.25


@pytest.mark.parametrize("time_ns", [0, -1])
def test_no_time_has_no_rate(time_ns: int) -> None:
    assert rate_per_s(10, time_ns) is None


def test_a_total_does_not_overflow() -> None:
    assert total(ints([2**62] * 4)) == 2.0**64


def test_samples_are_the_windows_if_there_are_enough() -> None:
    starts = sample_starts(ints([3, 2, 4, 1, 2, 2, 2, 2]))

    assert starts.tolist() == [0, 3, 5, 9, 10, 12, 14, 16]


@pytest.mark.parametrize(("sizes", "samples"), [([100], 17), ([16], 16), ([20, 20, 3], 22), ([50] * 7, 17)])
def test_few_windows_are_cut_into_smaller_samples(sizes: list[int], samples: int) -> None:
    starts = sample_starts(ints(sizes))

    assert len(starts) == samples
    assert starts[0] == 0
    assert starts[-1] < sum(sizes)


@pytest.mark.parametrize("sizes", [[], [15], [1] * 15])
def test_too_few_steps_have_no_samples(sizes: list[int]) -> None:
    assert sample_starts(ints(sizes)) is None


def test_equal_samples_have_an_interval_of_no_width_at_the_rate() -> None:
    interval = rate_interval(ints([16] * 20), ints([2 * 10**9] * 20))

    assert interval.low == pytest.approx(8.0, rel=1e-12)
    assert interval.high == pytest.approx(8.0, rel=1e-12)


@hypothesis_settings(deadline=None)
@given(count=st.integers(8, 200), spread=st.integers(1, 50))
def test_an_interval_of_regular_samples_contains_the_rate(count: int, spread: int) -> None:
    images = ints([32] * count)
    times = ints([10**9 + 10**7 * spread * ((at * 37 % 101) - 50) // 101 for at in range(count)])

    interval = rate_interval(images, times)

    assert interval.low <= (rate_per_s(total(images), total(times)) or 0) <= interval.high


def test_the_same_samples_have_the_same_interval() -> None:
    times = ints([10**9 + at * 10**6 for at in range(50)])

    assert rate_interval(ints([4] * 50), times) == rate_interval(ints([4] * 50), times)


@pytest.mark.parametrize("count", [8, 12, 40])
def test_nineteen_of_twenty_intervals_contain_the_true_rate(count: int) -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    contained = 0
    for _ in range(200):
        times = (1e9 * (1 + 0.05 * generator.standard_normal(count))).astype(np.int64)
        interval = rate_interval(ints([10] * count), times)
        contained += interval.low <= 10 <= interval.high

    assert 186 <= contained <= 199


@pytest.mark.parametrize("window", [5, 20, 50])  # of 200 steps: many windows, ten, too few to be the samples
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_steps_that_resemble_their_neighbours_leave_the_interval_its_confidence(
    correlation: float, window: int
) -> None:
    runs, steps = 600, 200
    noise = 0.03 * autoregression(np.random.Generator(np.random.PCG64(3)), (runs, steps), correlation)
    starts = sample_starts(ints([window] * (steps // window)))
    images = np.add.reduceat(ints([16] * steps), starts)
    contained, widths = 0, []
    for row in (1e8 * (1 + noise)).astype(np.int64):
        interval = rate_interval(images, np.add.reduceat(row, starts))
        contained += interval.low <= 160 <= interval.high
        widths.append(interval.high - interval.low)

    # Of 600 runs at 95 %, 570 with a deviation of 5; where steps are alike, a little less is owned up to.
    assert 0.92 * runs <= contained <= 0.985 * runs
    # Against that of noise whose long-run deviation is known: a third wider at most, for not knowing it.
    known = 2 * 1.96 * 160 * 0.03 * math.sqrt((1 + correlation) / (1 - correlation) / steps)
    assert known < sum(widths) / runs < 1.35 * known


def area_of_students_t(freedom: float, end: float) -> float:
    """The probability of Student's t from 0 to `end`, by Simpson's rule."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    at = np.linspace(0, end, 2001)
    weights = np.where(np.arange(2001) % 2, 4, 2)
    weights[[0, -1]] = 1
    return float(end / 2000 / 3 * (weights * scale * (1 + at * at / freedom) ** (-(freedom + 1) / 2)).sum())


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 2.5, 3, 4, 5, 6, 6.4, 6.5, 7, 8.67, 9, 13, 20, 30, 100, 1000])
def test_the_quantile_leaves_two_and_a_half_percent_of_students_t_above(freedom: float) -> None:
    # From 6.5 on the next term of the expansion.
    error = 0.1 / freedom**4 + 1e-7 if freedom >= 6.5 else 1e-6

    assert area_of_students_t(freedom, t_quantile(freedom)) == pytest.approx(0.475, abs=error)


@pytest.mark.parametrize("freedom", [1, 1.5, 3, 6.5, 18, 200])
@pytest.mark.parametrize("confidence", [0.5, 0.6, 0.95, 0.99, 0.999])
def test_quantile_and_probability_of_students_t_belong_together(freedom: float, confidence: float) -> None:
    t = t_quantile(freedom, confidence)

    assert t_beyond(t, freedom) == pytest.approx(1 - confidence, abs=1e-4)
    if t < 50:
        assert 2 * area_of_students_t(freedom, t) == pytest.approx(confidence, abs=1e-4)


# Blocks of about a tenth of the samples; the quantiles are Student's for 9, 13, 7 and 11.5 degrees of freedom.
@pytest.mark.parametrize(
    ("count", "length", "quantile"), [(10, 1, 2.2622), (14, 1, 2.1604), (16, 2, 2.3646), (25, 2, 2.1893)]
)
def test_few_blocks_have_the_interval_of_student(count: int, length: int, quantile: float) -> None:
    generator = np.random.Generator(np.random.PCG64(4))
    fitting, found = count / length, []
    for _ in range(60):
        times = (1e9 * (1 + 0.01 * generator.standard_normal(count))).astype(np.int64)
        interval = rate_interval(ints([10] * count), times)
        mean = times.mean()
        sums = sum(np.roll(times - mean, -part) for part in range(length))
        deviation = math.sqrt((sums * sums).mean() / length * fitting / (fitting - 1) / count) / mean
        correlation = autocorrelation(sums, length)
        expected = quantile * deviation * math.sqrt(inflated(1.0, correlation))
        found.append((interval.high - interval.low) / 2 / (10e9 / mean) / expected)

    # Quantiles of a few thousand draws scatter by two in a hundred; their mean much less.
    assert sum(found) / len(found) == pytest.approx(1, abs=0.015)


def test_slow_drifts_widen_the_interval() -> None:
    wave = [math.sin(2 * math.pi * at / 64) for at in range(64)]
    drift = ints([int(1e9 * (1 + 0.1 * part)) for part in wave])
    shuffled = ints([int(drift[at * 37 % 64]) for at in range(64)])

    slow, mixed = rate_interval(ints([8] * 64), drift), rate_interval(ints([8] * 64), shuffled)

    assert slow.high - slow.low > 1.3 * (mixed.high - mixed.low)


@pytest.mark.parametrize(
    ("deviations", "lag", "correlation"),
    [
        ([1, 1, -1, -1, 1, 1, -1, -1], 1, 1 / 7 + 1 / 8),
        ([3, 2, 1, -1, -2, -3], 2, -1 / 3 / (28 / 6) + 2 / 6),  # 3 x 1, 2 x -1, 1 x -2; not round the end
        ([1, -1, 1, -1, 1, -1, 1, -1], 1, 0),
        ([-9, -7, -5, -3, -1, 1, 3, 5, 7, 9], 1, 0.7),
        ([0, 0, 0, 0], 1, 0),
    ],
)
def test_the_autocorrelation_is_that_of_values_a_lag_apart(deviations: list[int], lag: int, correlation: float) -> None:
    assert autocorrelation(np.array(deviations, dtype=float), lag) == pytest.approx(correlation, abs=1e-12)


def test_correlated_blocks_widen_the_interval_as_an_autoregression_would() -> None:
    rising, mixed = list(range(-9, 10, 2)), [1, -9, 7, -5, 5, -3, 3, -7, 9, -1]
    assert sorted(mixed) == rising
    assert autocorrelation(np.array(rising, dtype=float)) == 0.7

    slow = rate_interval(ints([10] * 10), ints([10**9 + 10**6 * one for one in rising]))
    quick = rate_interval(ints([10] * 10), ints([10**9 + 10**6 * one for one in mixed]))

    assert (slow.high - slow.low) / (quick.high - quick.low) == pytest.approx(math.sqrt(1.7 / 0.3), rel=0.05)


def found_in(times: list[int]) -> RateInterval:
    found = bootstrapped(ints([10] * len(times)), ints(times))
    assert found is not None
    return found


def test_blocks_that_do_not_resemble_their_neighbours_are_all_independent() -> None:
    assert found_in([10**9 + 10**6 * (-1) ** at for at in range(40)]).independent == pytest.approx(10)


def test_a_run_that_slows_down_all_the_time_holds_less_than_two_independent_blocks() -> None:
    trend = found_in([10**9 + 10**7 * at for at in range(40)])

    assert trend.independent == pytest.approx(10 * 0.3 / 1.7)
    # It decides no more than its slowest and its fastest tenth do.
    assert trend.interval.low <= 10 / 1.375
    assert trend.interval.high >= 10 / 1.015


def test_a_block_goes_on_at_the_beginning() -> None:
    assert _circular_sums(ints([1, 2, 3, 4]), 3).tolist() == [6.0, 9.0, 8.0, 7.0]
    assert _circular_sums(ints([1, 2, 3, 4]), 1).tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(("count", "has_one"), [(7, False), (8, True), (100_000, True)])
def test_an_interval_takes_eight_samples(count: int, has_one: bool) -> None:
    found = rate_interval(ints([16] * count), ints([10**9 + at % 7 for at in range(count)]))

    assert (found is not None) is has_one


@pytest.mark.parametrize("times", [[0] * 20, [0] * 19 + [5], [-1] * 20])
def test_samples_without_time_have_no_interval(times: list[int]) -> None:
    assert rate_interval(ints([1] * 20), ints(times)) is None


def test_an_interval_can_be_scaled_and_widened() -> None:
    assert Interval(1, 2).scaled(2.0) == Interval(2, 4)
    assert Interval(1, 2).around(3) == Interval(1, 3)
    assert Interval(1, 2).around(0) == Interval(0, 2)


@pytest.mark.parametrize(
    ("value", "low", "high", "bound", "steps", "more"),
    [
        (100.0, 90.0, 110.0, 95.0, 400, 1200),  # half the width takes four times the steps
        (100.0, 90.0, 110.0, 105.0, 400, 1200),
        (100.0, 98.0, 140.0, 99.0, 100, 300),  # the side towards the bound counts
        (100.0, 90.0, 110.0, 100.0, 400, None),
        (100.0, 99.0, 101.0, 90.0, 400, 0),
        (100.0, 90.0, 110.0, 110.0, 400, 1),  # a bound that is just touched
        (1e-300, -1e300, 1e300, 0.0, 400, None),  # beyond all numbers
        (0.0, -1.0, 1.0, 1e-200, 400, None),
    ],
)
def test_the_steps_that_would_decide_follow_from_width_and_distance(
    value: float, low: float, high: float, bound: float, steps: int, more: int | None
) -> None:
    assert steps_to_decide(value, Interval(low, high), bound, steps) == more


@pytest.mark.parametrize(
    ("within", "more"),
    [
        (10.0, 1200),  # all of the interval: steps narrow it to 5
        (8.0, None),  # 6 come from between the runs, more than the distance
        (9.797959, 1429),  # 2 do: 9.798 has to become sqrt(25 - 4)
    ],
)
def test_steps_narrow_only_what_comes_from_steps(within: float, more: int | None) -> None:
    found = steps_to_decide(100.0, Interval(90.0, 110.0), 95.0, 400, Interval(100.0 - within, 100.0 + within))

    assert found == more


@given(
    value=st.floats(1, 1000),
    half=st.floats(0.01, 100),
    offset=st.floats(-0.99, 0.99).filter(lambda part: abs(part) > 0.01),
    steps=st.integers(16, 10**6),
)
def test_the_steps_asked_for_bring_the_interval_clear(value: float, half: float, offset: float, steps: int) -> None:
    bound = value + offset * half

    more = steps_to_decide(value, Interval(value - half, value + half), bound, steps)

    assert more is not None
    assert more >= 1
    assert half * math.sqrt(steps / (steps + more)) <= abs(value - bound) * (1 + 1e-6)
