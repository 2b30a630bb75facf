"""Numbers in reasons."""

from __future__ import annotations

import math

import pytest

from expected import METRICS, Expectation
from verdict.wording import against, figure, origin, quantity


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (185.23, "185.2"),
        (40310.4, "40310"),
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


def test_a_quantity_has_its_unit() -> None:
    assert quantity(METRICS["p_core"], 185.23) == "185.2 images/s"
    assert quantity(METRICS["map"], 0.36524) == "0.3652"


def test_a_value_that_rounds_to_its_bound_is_shown_with_more_digits() -> None:
    assert against(METRICS["p_core"], 189.04, 189.0) == ("189.04 images/s", "189")
    assert against(METRICS["p_core"], 189.0, 189.0) == ("189.0 images/s", "189")


@pytest.mark.parametrize(
    ("name", "value", "bound", "capacity", "words"),
    [
        ("p_core", 199.0, 189.05, None, "0.95 x published 199.0"),
        ("e2e_time", 11848.0, 12440.4, None, "1.05 x published 11848.0"),
        ("map", 0.364, 0.36, None, "published 0.364 - 0.004"),
        ("map", 0.364, 0.37, None, "published 0.364 + 0.006"),
        ("mem", 38.8, 40.0, 40.0, "the card's capacity; published 38.8"),
        ("p_core", 199.0, 123.4567, None, "published 199.0"),
        ("p_core", None, 100.0, None, "the bound in force"),
    ],
)
def test_a_bound_says_where_it_comes_from(name: str, value: float, bound: float, capacity: float, words: str) -> None:
    assert origin(METRICS[name], Expectation("published", value, capacity=capacity), bound) == words


@pytest.mark.parametrize(
    ("name", "value", "bound", "capacity", "words"),
    [
        ("p_core", 55.1, 53.447, None, "0.97 x accepted 55.1"),
        ("map", 0.365, 0.36, None, "accepted 0.365 - 0.005"),
        ("mem", 31.5, 32.0, 32.0, "the card's capacity; accepted 31.5"),
    ],
)
def test_a_bound_of_the_site_says_so(name: str, value: float, bound: float, capacity: float, words: str) -> None:
    assert origin(METRICS[name], Expectation("accepted", value, capacity=capacity), bound) == words
