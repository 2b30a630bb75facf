"""Numbers are written with unit and a fixed number of digits, or as a dash."""

from __future__ import annotations

import pytest

from reports.numbers import bound, half_width_percent, quantity


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "-"),
        (40310.04, "s", "40 310.0 s"),
        (0.36521, "0..1", "0.3652"),
        (28.0, "GiB", "28.00 GiB"),
        (54.04, "images/s", "54.0 images/s"),
    ],
)
def test_a_quantity_has_its_units_digits(value: float | None, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "interval", "text"), [(100.0, [99.0, 101.0], " ± 1.0 %"), (100.0, None, ""), (0.0, [0.0, 0.0], "")]
)
def test_half_the_interval_is_shown_relative_to_the_value(
    value: float, interval: list[float] | None, text: str
) -> None:
    assert half_width_percent(value, interval) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (None, None, "-"),
        (0.36, None, ">= 0.3600"),
        (None, 0.5, "<= 0.5000"),
        (0.36, 0.5, ">= 0.3600 and <= 0.5000"),
    ],
)
def test_a_bound_names_the_sides_that_decide(low: float | None, high: float | None, text: str) -> None:
    assert bound(low, high, "0..1") == text
