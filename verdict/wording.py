"""Numbers and bounds in the words of a reason."""

from __future__ import annotations

import math

from expected import Expectation, Metric

_NO_UNIT = ("", "0..1")


def figure(value: float, digits: int = 4) -> str:
    """`value` with `digits` significant digits, never in exponents, and all digits before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(decimals, 0), 12)}f}"


def quantity(metric: Metric, value: float, digits: int = 4) -> str:
    """`value` with the metric's unit: "185.2 images/s"; without one for shares: "0.3652"."""
    return figure(value, digits) + ("" if metric.unit in _NO_UNIT else f" {metric.unit}")


def against(metric: Metric, value: float, bound: float) -> tuple[str, str]:
    """`value` and `bound` with as few digits as tell them apart, where they differ; the bound is exact."""
    digits = 4
    while value != bound and digits < 15 and float(figure(value, digits)) == bound:
        digits += 1
    return quantity(metric, value, digits), f"{bound:.10g}"


def origin(metric: Metric, expectation: Expectation, bound: float) -> str:
    """How a bound comes from the number behind it: "0.95 x published 199.0", "0.97 x accepted 55.1"."""
    value = expectation.value
    if value is None:
        return "the bound in force"
    number = f"{expectation.state} {value}"
    if metric.name == "map":
        slack = round(value - bound, 10)
        return f"{number} {'-' if slack >= 0 else '+'} {abs(slack):g}"
    if bound == expectation.capacity:
        return f"the card's capacity; {number}"
    if value and math.isclose(round(bound / value, 4), bound / value, rel_tol=1e-12):
        return f"{round(bound / value, 4):g} x {number}"
    return number


def times(count: int) -> str:
    """A number of restarts in words: "once", "twice", "3 times"."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
