"""Numbers, bounds and their origin in words: the same digits in reasons, tables, pages and JUnit."""

from __future__ import annotations

import math

from evidence.verdict import Interval, MetricVerdict
from expected import Expectation, Metric

_DECIMALS = {"s": 1, "images/s": 1, "0..1": 4, "": 4, "GiB": 2, "epochs": 0, "faults": 0, "GB/s": 2}
"""The fewest decimals of a number by its unit; 3 of any other."""
_DIMENSIONLESS = ("0..1", "")
_COUNTS = ("epochs", "faults")
"""Units of which there are only whole numbers of what is measured."""
_MOST_DECIMALS = 12
_HOUR_S = 3600 - 0.5
"""From here on a time is an hour or more, to a whole second."""


def figure(value: float, digits: int = 4) -> str:
    """Return `value` with `digits` significant digits and all before the point, thousands set apart by a space."""
    return _number(value, _decimals(value, digits))


def duration(seconds: float) -> str:
    """Return a time in words, to a whole second, from an hour on to a minute.

    >>> duration(7.2), duration(65), duration(128_000)
    ('7 s', '1 min 05 s', '35 h 33 min')
    """
    if seconds < _HOUR_S:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def number(value: float | None, unit: str) -> str:
    """Return what `quantity` does without the unit, but of a time of an hour or more."""
    if value is None or _is_hours(value, unit):
        return quantity(value, unit)
    return _number(value, _shown_decimals(value, unit, 4))


def quantity(value: float | None, unit: str, digits: int = 4) -> str:
    """Return a value with its unit and at least `digits` significant digits, or "-" for None.

    A time of an hour or more is in hours and minutes.

    >>> quantity(1234.56, "images/s"), quantity(40310.04, "s"), quantity(0.36524, "0..1")
    ('1 234.6 images/s', '11 h 12 min', '0.3652')
    """
    if value is None:
        return "-"
    if _is_hours(value, unit):
        return duration(value)
    return _with_unit(_number(value, _shown_decimals(value, unit, digits)), unit)


def limit(value: float, unit: str) -> str:
    """Return a bound, without its unit, as exactly as it decides (10 significant digits): `189.05`, `0.3600`.

    A time of an hour or more has its units: `3 h 27 min 20.4 s`.
    """
    exact = f"{value:.10g}"
    decimals = len(exact.partition(".")[2]) if "e" not in exact else _decimals(value, 10)
    if _is_hours(value, unit):
        return _hours(value, decimals)
    return _number(value, max(_DECIMALS.get(unit, 3), decimals))


def bounds(low: float | None, high: float | None, unit: str) -> str:
    """Return the side or sides that decide: `>= 0.3600`, `<= 29.40 GiB`, or "-" if none does."""
    sides = ((">=", low), ("<=", high))
    texts = [(sign, one, limit(one, unit)) for sign, one in sides if one is not None]
    return (
        " and ".join(f"{sign} {text if _is_hours(one, unit) else _with_unit(text, unit)}" for sign, one, text in texts)
        or "-"
    )


def percent(share: float) -> str:
    """Return a share in percent with a decimal, with two digits where it is less than 1 %.

    >>> percent(0.986), percent(0.0034)
    ('98.6 %', '0.34 %')
    """
    return f"{100 * share:.1f} %" if abs(share) >= 0.00995 or share == 0 else f"{100 * share:.2g} %"


def of_published(metric: MetricVerdict) -> str:
    """Return the measured value in percent of the published or accepted number: `98.6 %`; "-" without the two."""
    if metric.measured is None or not metric.expected:
        return "-"
    return percent(metric.measured / metric.expected)


def clearance(metric: MetricVerdict) -> float | None:
    """Return how far the measured value lies inside the nearer bound, relative to it; below 0 outside, None without."""
    if metric.measured is None:
        return None
    sides = ((metric.low, 1), (metric.high, -1))
    return min((sign * (metric.measured - bound) / abs(bound) for bound, sign in sides if bound), default=None)


def margin(metric: MetricVerdict) -> str:
    """Return how far the measured value lies from the nearer bound, relative to it: `5.1 % inside`; "" without."""
    clear = clearance(metric)
    return "" if clear is None else f"{percent(abs(clear))} {'inside' if clear >= 0 else 'outside'}"


def half_width(value: float | None, interval: Interval | None) -> str:
    """Return ` ± 0.3 %`, half the interval's width relative to the value; "" without a value or an interval."""
    if not interval or not value:
        return ""
    return f" ± {100 * (interval.high - interval.low) / 2 / abs(value):.1f} %"


def measured(value: float | None, interval: Interval | None, unit: str) -> str:
    """Return a measured value with its unit and interval: `199.5 images/s ± 0.3 %`."""
    return quantity(value, unit) + half_width(value, interval)


def span(interval: Interval, unit: str) -> str:
    """Return an interval with as many decimals as its width needs: `39.57 to 39.70 images/s`."""
    width = abs(interval.high - interval.low)
    decimals = min(9, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 2
    return _with_unit(f"{_number(interval.low, decimals)} to {_number(interval.high, decimals)}", unit)


def against(metric: Metric, value: float, bound: float) -> tuple[str, str]:
    """Return `value`, with enough digits to differ from the bound if the two differ, and the exact `bound`."""
    digits = 4
    while value != bound and digits < 15 and round(value, _shown_decimals(value, metric.unit, digits)) == bound:
        digits += 1
    decimals = _shown_decimals(value, metric.unit, digits)
    shown = _hours(value, decimals) if _is_hours(value, metric.unit) else quantity(value, metric.unit, digits)
    return shown, limit(bound, metric.unit)


def origin(metric: Metric, expectation: Expectation, bound: float) -> str:
    """Return how a bound comes from the number behind it: "0.95 x published 199.0", "0.97 x accepted 55.1"."""
    value = expectation.value
    if value is None:
        return "the bound in force"
    number = f"{expectation.state} {value}"
    if metric.is_absolute:
        slack = round(value - bound, 10)
        return f"{number} {'-' if slack >= 0 else '+'} {abs(slack):g}"
    if bound == expectation.capacity:
        return f"the device's capacity; {number}"
    if expectation.epoch_s and bound == expectation.high:
        return f"{number} and an epoch of {expectation.epoch_s:.0f} s"
    if value and math.isclose(round(bound / value, 4), bound / value, rel_tol=1e-12):
        return f"{round(bound / value, 4):g} x {number}"
    return number


def counted(count: int, word: str) -> str:
    """Return a number of things in words: "1 rank", "2 ranks", "1 200 steps"."""
    return f"{count:,} {word}{'s' * (count != 1)}".replace(",", " ")


def times(count: int) -> str:
    """Return a number of restarts in words: "once", "twice", "3 times"."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _is_hours(value: float, unit: str) -> bool:
    return unit == "s" and math.isfinite(value) and value >= _HOUR_S


def _hours(seconds: float, decimals: int) -> str:
    """Return a time in hours, minutes and, if there are any, seconds with so many decimals."""
    whole = round(seconds, decimals)
    rest = round(whole % 60, decimals)
    hours, minutes = divmod(round((whole - rest) / 60), 60)
    return f"{hours} h {minutes:02d} min" + (f" {rest:.{decimals}f} s" if rest else "")


def _decimals(value: float, digits: int) -> int:
    if value == 0 or not math.isfinite(value):
        return 0
    return min(max(digits - 1 - math.floor(math.log10(abs(value))), 0), _MOST_DECIMALS)


def _shown_decimals(value: float, unit: str, digits: int) -> int:
    if unit in _COUNTS and value == round(value):
        return 0
    return max(_DECIMALS.get(unit, 3), _decimals(value, digits))


def _number(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".replace(",", " ")


def _with_unit(text: str, unit: str) -> str:
    if unit in _DIMENSIONLESS:
        return text
    return f"{text} {unit[:-1] if unit in _COUNTS and text == '1' else unit}"
