"""Change points of series of values: planted ones are found, scatter and outliers are not."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.compare.change_points import FALSE_ALARMS, FEWEST, find_change_points

Draw = Callable[[np.random.Generator, int], Any]

SCATTERS: dict[str, Draw] = {
    "normal": lambda random, count: random.normal(size=count),
    "heavy tails": lambda random, count: random.standard_t(3, size=count),
    "rounded": lambda random, count: np.round(random.normal(size=count) * 0.7),
    "outliers": lambda random, count: random.normal(size=count) + 30 * (random.random(count) < 0.05),
}


@pytest.mark.parametrize("scatter", SCATTERS)
def test_scatter_alone_shows_a_step_no_more_often_than_is_stated(scatter: str) -> None:
    random, series = np.random.default_rng(3), 400

    found = sum(bool(find_change_points(100 + 0.5 * SCATTERS[scatter](random, 40))) for _ in range(series))

    # 400 series with a chance of 1 % each: more than 12 of them have one in less than 1 of 1000 cases.
    assert FALSE_ALARMS == 0.01
    assert found <= 12


@pytest.mark.parametrize(
    ("before", "after", "size"), [(20, 20, -3.0), (97, 3, -10.0), (95, 5, 6.0), (6, 6, 8.0), (5, 30, -4.0)]
)
def test_a_planted_step_is_found_where_it_is(before: int, after: int, size: float) -> None:
    random = np.random.default_rng(5)
    hits = 0
    for _ in range(50):
        values = 100 + random.normal(size=before + after)
        values[before:] += size
        hits += any(abs(step.at - before) <= 1 for step in find_change_points(values))

    assert hits >= 45


def test_several_steps_are_told_in_order_with_their_levels() -> None:
    random = np.random.default_rng(6)
    levels = np.repeat([100.0, 95.0, 98.0], 30)

    first, second = find_change_points(levels + random.normal(size=90) * 0.5)

    assert (first.at, second.at) == (30, 60)
    assert first.before == pytest.approx(100, abs=0.5)
    assert first.after == second.before == pytest.approx(95, abs=0.5)
    assert second.after == pytest.approx(98, abs=0.5)
    assert first.share == pytest.approx(-0.05, abs=0.01)
    assert max(first.p, second.p) <= FALSE_ALARMS


def test_outliers_are_no_step_until_they_are_three_in_a_row() -> None:
    random = np.random.default_rng(7)
    values = 100 + random.normal(size=60)

    def with_outliers(count: int) -> Any:
        changed = values.copy()
        changed[60 - count :] = 60
        return find_change_points(changed)

    assert [len(with_outliers(count)) for count in (0, 1, 2, FEWEST)] == [0, 0, 0, 1]


def test_values_that_do_not_scatter_step_only_where_they_change_by_more_than_the_resolution() -> None:
    assert find_change_points([100.0] * 30) == ()
    assert find_change_points([0.0] * 30) == ()
    assert [step.at for step in find_change_points([100.0] * 20 + [90.0] * 20)] == [20]
    assert [step.at for step in find_change_points([0.0] * 10 + [1.0] * 10)] == [10]
    assert find_change_points([100.0] * 20 + [99.99] * 20) == ()
    assert find_change_points([100.0] * 20 + [50.0] + [100.0] * 20) == ()


def test_few_values_show_nothing() -> None:
    assert find_change_points([]) == ()
    assert find_change_points([100.0, 100.0, 1.0, 1.0, 1.0]) == ()


@given(st.lists(st.floats(0, 1e9), max_size=60))
def test_steps_depend_on_no_unit_and_lie_inside_the_series(values: Any) -> None:
    steps = find_change_points(values)

    assert all(FEWEST <= step.at <= len(values) - FEWEST for step in steps)
    assert [step.at for step in steps] == sorted({step.at for step in steps})
    if all(value == 0 or value > 1e-100 for value in values):
        assert len(find_change_points([value * 2.0**10 for value in values])) == len(steps)
