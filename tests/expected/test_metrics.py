"""The bounds that are computed around a published number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expected import ALL_METRICS, METRICS, default_bounds

sizes = st.floats(min_value=1e-6, max_value=1e9)
tolerances = st.none() | st.floats(min_value=0, max_value=0.999)


@pytest.mark.parametrize(
    ("metric", "value", "capacity", "bounds"),
    [
        ("e2e_time", 14086.0, None, (None, 14790.3)),
        ("p_whole", 144.0, None, (136.8, None)),
        ("p_train", 150.0, None, (142.5, None)),
        ("p_core", 199.0, None, (189.05, None)),
        ("map", 0.364, None, (0.36, None)),
        ("map", 0.37, None, (0.366, None)),
        ("mem", 28.0, None, (None, 29.4)),
        ("mem", 28.0, 32.0, (None, 29.4)),
        ("mem", 38.8, 40.0, (None, 40.0)),
    ],
)
def test_a_default_bound_is_the_number_that_a_reader_computes(
    metric: str, value: float, capacity: float | None, bounds: tuple[float | None, float | None]
) -> None:
    assert default_bounds(METRICS[metric], value, capacity=capacity) == bounds


@given(value=sizes, spare=st.floats(0, 100), tolerance=tolerances)
def test_the_bound_of_memory_lies_between_the_published_use_and_the_capacity(
    value: float, spare: float, tolerance: float | None
) -> None:
    capacity = value + spare
    low, high = default_bounds(METRICS["mem"], value, tolerance, capacity)
    assert low is None
    assert high is not None
    assert value <= high <= capacity
    assert high == min(default_bounds(METRICS["mem"], value, tolerance)[1] or 0, capacity)


@given(
    name=st.sampled_from(list(METRICS)),
    value=st.floats(0.01, 1),
    tight=st.floats(0, 0.5),
    more=st.floats(0, 0.4),
)
def test_a_larger_tolerance_never_narrows_a_bound(name: str, value: float, tight: float, more: float) -> None:
    low, high = default_bounds(METRICS[name], value, tight)
    looser_low, looser_high = default_bounds(METRICS[name], value, tight + more)
    if low is not None:
        assert looser_low is not None
        assert looser_low <= low
    else:
        assert high is not None
        assert looser_high is not None
        assert looser_high >= high


@pytest.mark.parametrize(
    ("value", "tolerance", "bounds"),
    [(18.89, None, (16.89, 20.89)), (17.0, 1.0, (16.0, 18.0)), (1.0, 1.0, (None, 2.0)), (1.5, None, (None, 3.5))],
)
def test_epochs_to_target_has_a_bound_on_both_sides(
    value: float, tolerance: float | None, bounds: tuple[float | None, float | None]
) -> None:
    assert default_bounds(ALL_METRICS["epochs_to_target"], value, tolerance) == bounds
