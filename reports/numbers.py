"""Numbers with their units, as they stand in tables, messages and properties."""

from __future__ import annotations

import math
from typing import Any, Mapping

from evidence.verdict import Workload

_DECIMALS = {"s": 1, "images/s": 1, "0..1": 4, "": 4, "GiB": 2}
_DIMENSIONLESS = ("0..1", "")


def quantity(value: float | None, unit: str) -> str:
    """Return a value with its unit, thousands set apart by a space, or "-" for none: `40 310.0 s`, `0.3652`."""
    if value is None:
        return "-"
    text = f"{value:,.{_DECIMALS.get(unit, 3)}f}".replace(",", " ")
    return text if unit in _DIMENSIONLESS else f"{text} {unit}"


def half_width_percent(value: float, interval: list[float] | None) -> str:
    """Return ` ± 0.3 %`: half the interval's width relative to the value, or nothing where there is no interval."""
    if not interval or not value:
        return ""
    return f" ± {100 * (interval[1] - interval[0]) / 2 / abs(value):.1f} %"


def bound(low: float | None, high: float | None, unit: str) -> str:
    """Return the side or sides that decide: `>= 0.3600`, `<= 29.40 GiB`, or "-" where nothing is decided."""
    sides = []
    if low is not None:
        sides.append(f">= {quantity(low, unit)}")
    if high is not None:
        sides.append(f"<= {quantity(high, unit)}")
    return " and ".join(sides) or "-"


def in_words(record: Mapping[str, Any]) -> str:
    """Return the fingerprint of a verdict.json as a line that a person reads."""
    numbers = {name: math.nan if value is None else value for name, value in record.items()}
    return str(Workload(int(numbers.pop("images")), **numbers))
