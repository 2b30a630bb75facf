"""Two runs or two groups of runs held against each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.compare.ab_comparison import PERMUTATIONS, compare_groups, compare_runs, holm, least_p
from verdict.metrics.throughput import RateSamples


def a_run(
    random: np.random.Generator, samples: int = 100, *, correlation: float = 0.0, rate: float = 100.0
) -> RateSamples:
    """A run whose samples' times scatter by 5 % as a first-order autoregression."""
    scatter = random.normal(size=samples + 100)
    for at in range(1, len(scatter)):
        scatter[at] = correlation * scatter[at - 1] + math.sqrt(1 - correlation**2) * scatter[at]
    return RateSamples(np.full(samples, 160), 160e9 / rate * np.exp(0.05 * scatter[100:]))


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.09), (0.6, 0.10), (0.9, 0.16)])
def test_runs_that_do_not_differ_are_told_apart_about_as_often_as_the_level_allows(
    correlation: float, most: float
) -> None:
    random, trials = np.random.default_rng(1), 200

    found = [compare_runs("p_core", *(a_run(random, correlation=correlation) for _ in "AB")) for _ in range(trials)]

    # At 5 %; the more neighbours resemble each other, the more often.
    assert sum(one.p is not None and one.p < 0.05 for one in found) <= most * trials
    assert (
        sum(one.interval is not None and one.interval.low <= 1 <= one.interval.high for one in found)
        >= (1 - most) * trials
    )


def test_a_difference_is_found_and_the_interval_holds_the_true_ratio() -> None:
    random = np.random.default_rng(2)

    found = [compare_runs("p_core", a_run(random), a_run(random, 200, rate=95.0)) for _ in range(40)]

    assert all(one.p is not None and one.p < 0.05 for one in found)
    assert sum(one.interval is not None and one.interval.low <= 0.95 <= one.interval.high for one in found) >= 36
    assert all(one.effect is not None and one.effect < -1 for one in found)


@given(st.integers(0, 2**32), st.integers(8, 40), st.integers(8, 40))
def test_b_against_a_says_the_same_as_a_against_b(seed: int, first: int, second: int) -> None:
    random = np.random.default_rng(seed)
    one, other = a_run(random, first), a_run(random, second)

    there, back = compare_runs("x", one, other), compare_runs("x", other, one)

    assert None not in (there.ratio, there.interval, there.effect, there.p)
    assert None not in (back.ratio, back.interval, back.effect, back.p)
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.interval.low * back.interval.high == pytest.approx(1)
    assert there.effect == pytest.approx(-back.effect)
    assert there.p == back.p


def test_the_scale_of_a_rate_plays_no_part() -> None:
    random = np.random.default_rng(3)
    one, other = a_run(random), a_run(random)

    scaled = compare_runs("x", *(RateSamples(side.images * 7, side.time_ns) for side in (one, other)))

    assert scaled.p == compare_runs("x", one, other).p
    assert scaled.ratio == pytest.approx(compare_runs("x", one, other).ratio)


def test_too_few_steps_give_the_ratio_alone_and_say_why() -> None:
    random = np.random.default_rng(4)

    found = compare_runs("x", a_run(random, 7), a_run(random, 100))

    assert found.ratio is not None
    assert (found.p, found.interval, found.effect) == (None, None, None)
    assert found.why_not == "one of them has too few steps"


def test_runs_without_any_scatter_differ_for_certain_or_not_at_all() -> None:
    same, slow = (RateSamples(np.full(100, 160), np.full(100, ns)) for ns in (1e9, 2e9))

    assert compare_runs("x", same, same).p == 1
    assert compare_runs("x", same, slow).p == 1 / (PERMUTATIONS + 1)


def test_groups_of_runs_are_compared_by_every_way_to_share_them_out() -> None:
    found = compare_groups("map", [0.30, 0.31, 0.32, 0.33], [0.40, 0.41, 0.42, 0.43])

    assert found.p == pytest.approx(2 / 70)
    assert found.ratio == pytest.approx(1.317, abs=0.001)
    assert found.interval is not None
    assert found.interval.low < 1.317 < found.interval.high
    assert found.effect is not None
    assert found.effect > 2
    assert least_p(4, 4) == pytest.approx(2 / 70)
    assert least_p(3, 4) == pytest.approx(1 / 35)
    assert least_p(50, 50) == 1 / (PERMUTATIONS + 1)


def test_one_run_each_tells_no_significance() -> None:
    found = compare_groups("mem", [16.0], [17.0, 17.1])

    assert found.p is None
    assert "one run each" in found.why_not
    assert compare_groups("map", [0.0, 0.1], [0.1, 0.2]).why_not == "a value is 0"


def test_groups_that_do_not_differ_are_told_apart_about_as_often_as_the_level_allows() -> None:
    random = np.random.default_rng(5)

    found = [compare_groups("x", *(np.exp(random.normal(size=5) * 0.02) for _ in "AB")) for _ in range(300)]

    assert 0.01 <= sum(one.p is not None and one.p < 0.05 for one in found) / 300 <= 0.09


def test_holm_corrects_for_the_number_of_questions() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_a_corrected_p_is_never_smaller_and_never_above_one(p_values: Any) -> None:
    corrected = holm(p_values)

    assert list(corrected) == list(p_values)
    assert all(p_values[name] <= corrected[name] <= 1 for name in p_values)
