"""What several readings agree on: outliers, the mean of the rest, and how far one more may be off."""

from __future__ import annotations

import math
import statistics
from typing import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from expected import METRICS, default_bounds
from expected.metrics import ABSOLUTE_TOLERANCE
from expected.site import LARGEST_TOLERANCE, MIN_RUNS
from verdict.baseline.spread import (
    _T,
    SMALLEST_TOLERANCE,
    AcceptedValue,
    AcceptError,
    accepted_value,
    in_words,
    outliers,
)

RATES = [name for name, metric in METRICS.items() if metric.unit == "images/s"]


def named(*readings: float) -> dict[str, float]:
    """The readings by run: a, b, c, ..."""
    return {chr(ord("a") + number): reading for number, reading in enumerate(readings)}


def test_the_value_is_the_mean_and_the_tolerance_students_prediction_interval() -> None:
    found = accepted_value("p_core", named(100.0, 102.0, 104.0))

    half_width = 4.302653 * 2.0 * math.sqrt(4 / 3)  # t of two degrees of freedom, s = 2, n = 3
    assert found == AcceptedValue(
        "p_core", 102.0, math.ceil(half_width / 102.0 * 1e4) / 1e4, named(100.0, 102.0, 104.0), ()
    )
    assert found.tolerance == 0.0975
    assert found.bounds == (92.055, None)


def test_the_tolerance_of_map_is_absolute() -> None:
    found = accepted_value("map", named(0.3640, 0.3650, 0.3660))

    assert (found.value, found.tolerance) == (0.365, 0.005)
    assert found.bounds == (0.36, None)


@pytest.mark.parametrize(
    ("name", "readings", "tolerance"),
    [("p_core", (100.0, 100.0, 100.0), 0.01), ("e2e_time", (50.0, 50.01, 50.02), 0.01), ("map", (0.3,) * 3, 0.002)],
)
def test_few_runs_that_happen_to_agree_leave_a_smallest_tolerance(
    name: str, readings: tuple[float, ...], tolerance: float
) -> None:
    assert accepted_value(name, named(*readings)).tolerance == tolerance


def test_an_outlier_is_trimmed_and_kept_in_the_record() -> None:
    readings = named(100.0, 50.0, 102.0, 101.0)

    found = accepted_value("p_train", readings)

    assert (found.value, found.trimmed, found.kept) == (101.0, ("b",), (100.0, 102.0, 101.0))
    assert found.readings == readings


@pytest.mark.parametrize(
    ("name", "readings", "expected"),
    [
        # 3.5 / 0.6745 = 5.189 times the MAD, which is 2 here, from the median.
        ("p_core", (98.0, 98.0, 100.0, 102.0, 110.379), ("e",)),
        ("p_core", (98.0, 98.0, 100.0, 102.0, 110.378), ()),
        ("p_core", (98.0, 102.0, 100.0, 102.0, 89.6), ("e",)),
        # However near the others are: within 1 % of the median there is no outlier.
        ("p_core", (100.0, 100.0, 100.0, 101.0), ()),
        ("p_core", (100.0, 100.0, 100.0, 101.01), ("d",)),
        ("p_core", (100.0, 100.001, 99.999, 99.0), ()),
        ("map", (0.3, 0.3, 0.3, 0.3015), ()),
        ("map", (0.3, 0.3, 0.3, 0.3025), ("d",)),
        ("mem", (1.0, 1.0, 1.0, 1.5, 0.5), ("d", "e")),
    ],
)
def test_what_lies_too_far_from_the_median_is_an_outlier(
    name: str, readings: tuple[float, ...], expected: tuple[str, ...]
) -> None:
    assert outliers(name, named(*readings)) == expected


def test_of_three_runs_none_is_an_outlier_and_the_spread_refuses_them() -> None:
    with pytest.raises(AcceptError, match=r"another run may be off by 132\.97 %, expected at most 10\.00 %"):
        accepted_value("p_core", {"first": 100.0, "second": 100.5, "third": 60.0})

    accepted = accepted_value("p_core", {"first": 100.0, "second": 100.1, "third": 101.5})
    assert accepted.trimmed == ()


@pytest.mark.parametrize(
    ("name", "readings", "words"),
    [
        ("p_core", (90.0, 100.0, 110.0), "another run may be off by 49.69 %, expected at most 10.00 %"),
        ("e2e_time", (90.0, 100.0, 110.0), "a number that the site cannot reproduce is no baseline"),
        ("map", (0.33, 0.36, 0.39), "another run may be off by 0.1491, expected at most 0.0200"),
        ("p_core", (0.0, 0.0, 0.0), "expected more than 0"),
        ("map", (0.001, 0.001, 0.001), "too little for a bound above 0 at the tolerance 0.002"),
    ],
)
def test_what_the_site_cannot_reproduce_is_no_baseline(name: str, readings: tuple[float, ...], words: str) -> None:
    with pytest.raises(AcceptError) as caught:
        accepted_value(name, named(*readings))

    assert str(caught.value).startswith(f"{name}: found ")
    assert words in str(caught.value)
    assert f"--without {name}" in str(caught.value)


def test_the_largest_tolerance_is_still_accepted() -> None:
    assert accepted_value("p_core", named(100.0, 102.0, 104.105)).tolerance == LARGEST_TOLERANCE["p_core"]


@pytest.mark.parametrize(("name", "words"), [("p_core", "2.13 %"), ("map", "0.0213")])
def test_a_tolerance_is_told_in_its_own_form(name: str, words: str) -> None:
    assert in_words(name, 0.0213) == words


@pytest.mark.parametrize("freedom", range(1, len(_T) + 1))
def test_the_quantiles_cut_off_two_and_a_half_percent_of_students_distribution(freedom: int) -> None:
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    steps, end = 2000, _T[freedom - 1]

    def density(at: float) -> float:
        return scale * (1 + at * at / freedom) ** (-(freedom + 1) / 2)

    # Simpson's rule from the middle to the quantile.
    weights = [1] + [4 if number % 2 else 2 for number in range(1, steps)] + [1]
    area = end / steps / 3 * sum(weight * density(end * number / steps) for number, weight in enumerate(weights))

    assert area == pytest.approx(0.475, abs=2e-7)


def test_more_runs_than_the_table_has_use_its_last_quantile() -> None:
    readings = {str(number): 100.0 + number % 2 for number in range(60)}

    found = accepted_value("p_core", readings)

    half_width = _T[-1] * statistics.stdev(readings.values()) * math.sqrt(1 + 1 / 60)
    assert found.tolerance == max(0.01, math.ceil(half_width / 100.5 * 1e4) / 1e4)


@st.composite
def readings_of(draw: st.DrawFn, name: str) -> dict[str, float]:
    centre = draw(st.floats(0.05, 1.0) if name == "map" else st.floats(1e-3, 1e6))
    parts = draw(st.lists(st.floats(-0.02, 0.02), min_size=MIN_RUNS, max_size=12))
    return {str(number): centre * (1 + part) for number, part in enumerate(parts)}


@given(st.data(), st.sampled_from(list(METRICS)))
def test_every_run_that_was_kept_passes_by_the_value_that_it_was_accepted_into(data: st.DataObject, name: str) -> None:
    readings: Mapping[str, float] = data.draw(readings_of(name))
    try:
        found = accepted_value(name, readings)
    except AcceptError:
        assume(False)

    low, high = default_bounds(METRICS[name], found.value, found.tolerance)
    assert len(found.kept) >= MIN_RUNS
    assert min(found.kept) <= found.value <= max(found.kept)
    assert low is None or low <= min(found.kept)
    assert high is None or high >= max(found.kept)
    assert SMALLEST_TOLERANCE[name] <= found.tolerance <= LARGEST_TOLERANCE[name]


@given(st.data(), st.sampled_from(RATES), st.floats(0.5, 2.0))
def test_a_relative_tolerance_does_not_depend_on_the_scale(data: st.DataObject, name: str, factor: float) -> None:
    readings: Mapping[str, float] = data.draw(readings_of(name))
    try:
        found = accepted_value(name, readings)
        scaled = accepted_value(name, {run: reading * factor for run, reading in readings.items()})
    except AcceptError:
        assume(False)
    assume(found.trimmed == scaled.trimmed)

    assert scaled.tolerance == pytest.approx(found.tolerance, abs=2.1e-4)  # readings are rounded to six digits


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=15), st.sampled_from(list(METRICS)))
def test_at_least_half_of_the_runs_are_no_outliers(readings: list[float], name: str) -> None:
    runs = {str(number): reading for number, reading in enumerate(readings)}

    found = outliers(name, runs)

    assert 2 * len(found) < len(runs)
    near = SMALLEST_TOLERANCE[name] * (1 if name in ABSOLUTE_TOLERANCE else statistics.median(readings))
    assert all(abs(runs[run] - statistics.median(readings)) > near for run in found)
