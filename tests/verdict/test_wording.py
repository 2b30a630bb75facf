"""Numbers with their units, the same in reasons, tables, pages and JUnit."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evidence.verdict import Interval
from expected import METRICS, Expectation
from tests.reports.test_console import metric
from verdict.wording import (
    against,
    bounds,
    counted,
    duration,
    figure,
    half_width,
    margin,
    of_published,
    origin,
    percent,
    quantity,
    span,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (185.23, "185.2"),
        (40310.4, "40 310"),
        (0.36524, "0.3652"),
        (27.6, "27.60"),
        (0, "0"),
        (-3.14159, "-3.142"),
        (1e-20, "0.000000000000"),
        (math.inf, "inf"),
    ],
)
def test_a_figure_has_four_significant_digits_and_no_exponent(value: float, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "s", "-"),
        (3599.4, "s", "3 599.4 s"),
        (3599.96, "s", "1 h 00 min"),
        (40310.04, "s", "11 h 12 min"),
        (128_000.0, "s", "35 h 33 min"),
        (math.inf, "s", "inf s"),
        (0.36524, "0..1", "0.3652"),
        (28.0, "GiB", "28.00 GiB"),
        (1234.56, "images/s", "1 234.6 images/s"),
        (23.031, "images/s", "23.03 images/s"),
        (0.0, "images/s", "0.0 images/s"),
        (12, "rounds", "12.000 rounds"),
        (12, "epochs", "12 epochs"),
        (1, "epochs", "1 epoch"),
        (0.0, "faults", "0 faults"),
        (18.89, "epochs", "18.89 epochs"),
    ],
)
def test_a_quantity_has_its_units_decimals_and_four_significant_digits(
    value: float | None, unit: str, shown: str
) -> None:
    assert quantity(value, unit) == shown


@pytest.mark.parametrize(
    ("value", "interval", "shown"),
    [(100.0, Interval(99.0, 101.0), " ± 1.0 %"), (100.0, None, ""), (0.0, None, "")],
)
def test_half_the_interval_is_shown_relative_to_the_value(value: float, interval: Interval | None, shown: str) -> None:
    assert half_width(value, interval) == shown


@pytest.mark.parametrize(
    ("low", "high", "unit", "shown"),
    [
        (None, None, "0..1", "-"),
        (0.36, None, "0..1", ">= 0.3600"),
        (None, 0.5, "0..1", "<= 0.5000"),
        (0.36, 0.5, "0..1", ">= 0.3600 and <= 0.5000"),
        (189.05, None, "images/s", ">= 189.05 images/s"),
        (None, 1.05 * 11848, "s", "<= 3 h 27 min 20.4 s"),
        (None, 7200.0, "s", "<= 2 h 00 min"),
        (None, 60.5, "s", "<= 60.5 s"),
        (1e-13, None, "0..1", ">= 0.000000000000"),
        (None, 0.0, "faults", "<= 0 faults"),
    ],
)
def test_a_bound_is_exact_and_names_the_sides_that_decide(
    low: float | None, high: float | None, unit: str, shown: str
) -> None:
    assert bounds(low, high, unit) == shown


@pytest.mark.parametrize(
    ("ends", "shown"),
    [((39.571, 39.702), "39.57 to 39.70 images/s"), ((1e3, 1e3), "1 000.00 to 1 000.00 images/s")],
)
def test_an_interval_has_the_decimals_that_its_width_needs(ends: tuple[float, float], shown: str) -> None:
    assert span(Interval(*ends), "images/s") == shown


def test_a_value_that_rounds_to_its_bound_is_shown_with_more_digits() -> None:
    assert against(METRICS["p_core"], 189.04, 189.0) == ("189.04 images/s", "189.0")
    assert against(METRICS["p_core"], 189.0, 189.0) == ("189.0 images/s", "189.0")
    assert against(METRICS["e2e_time"], 12440.9, 12440.4) == ("3 h 27 min 20.9 s", "3 h 27 min 20.4 s")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (5400, "1 h 30 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_a_duration_is_in_hours_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(1.0029, "100.3 %"), (0.986, "98.6 %"), (0.05, "5.0 %"), (0.00999, "1.0 %"), (0.0034, "0.34 %"), (0, "0.0 %")],
)
def test_percents_have_a_decimal_and_small_ones_two_digits(share: float, shown: str) -> None:
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("name", "value", "bound", "capacity", "words"),
    [
        ("p_core", 199.0, 189.05, None, "0.95 x published 199.0"),
        ("e2e_time", 11848.0, 12440.4, None, "1.05 x published 11848.0"),
        ("map", 0.364, 0.36, None, "published 0.364 - 0.004"),
        ("map", 0.364, 0.37, None, "published 0.364 + 0.006"),
        ("mem", 38.8, 40.0, 40.0, "the device's capacity; published 38.8"),
        ("p_core", 199.0, 123.4567, None, "published 199.0"),
        ("p_core", None, 100.0, None, "the bound in force"),
    ],
)
def test_a_bound_says_where_it_comes_from(name: str, value: float, bound: float, capacity: float, words: str) -> None:
    assert origin(METRICS[name], Expectation("published", value, capacity=capacity), bound) == words


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (199.5, 190.0, None, "5.0 % inside"),
        (190.0, 190.0, None, "0.0 % inside"),
        (189.9, 190.0, None, "0.053 % outside"),
        (21.5, None, 21.0, "2.4 % outside"),
        (12.5, 12.0, 14.0, "4.2 % inside"),
        (11.0, 12.0, 14.0, "8.3 % outside"),
        (1.0, None, None, ""),
        (None, 1.0, None, ""),
        (1.0, 0.0, None, ""),
    ],
)
def test_a_margin_is_that_to_the_nearer_bound(value: Any, low: Any, high: Any, shown: str) -> None:
    assert margin(metric("p_core", "pass", measured=value, low=low, high=high)) == shown


def test_a_share_of_the_published_number_needs_both() -> None:
    assert of_published(metric("mem", "pass", measured=27.6, expected=28.0)) == "98.6 %"
    assert of_published(metric("mem", "recorded", measured=27.6)) == "-"
    assert of_published(metric("mem", "missing", expected=28.0)) == "-"


def test_what_is_counted_has_its_plural() -> None:
    assert [counted(count, "rank") for count in (0, 1, 2, 62_000)] == ["0 ranks", "1 rank", "2 ranks", "62 000 ranks"]


def test_a_bound_of_one_epoch_more_says_so() -> None:
    known = Expectation("published", 14086.0, high=14900.3, epoch_s=814.3)

    assert origin(METRICS["e2e_time"], known, 14900.3) == "published 14086.0 and an epoch of 814 s"


@pytest.mark.parametrize(
    ("name", "value", "bound", "capacity", "words"),
    [
        ("p_core", 55.1, 53.447, None, "0.97 x accepted 55.1"),
        ("map", 0.365, 0.36, None, "accepted 0.365 - 0.005"),
        ("mem", 31.5, 32.0, 32.0, "the device's capacity; accepted 31.5"),
    ],
)
def test_a_bound_of_the_site_says_so(name: str, value: float, bound: float, capacity: float, words: str) -> None:
    assert origin(METRICS[name], Expectation("accepted", value, capacity=capacity), bound) == words
