"""The columns of a vendor's table: unit, direction, allowed numbers, and the bounds around a published number."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Optional, Tuple

from expected.toml_file import POSITIVE, Range

Bounds = Tuple[Optional[float], Optional[float]]
"""(low, high) in the metric's unit; a side that is None does not decide."""


@dataclass(frozen=True)
class Metric:
    """One column of the table.

    `unit` is as written in files and reports, `better` is "lower" or "higher". `tolerance` is how far a measurement may
    be worse than the published number: relative, or absolute if `is_absolute`. `allowed` are its possible numbers.
    """

    name: str
    unit: str
    better: str
    tolerance: float = 0.05
    is_absolute: bool = False
    allowed: Range = POSITIVE

    @property
    def spoken_unit(self) -> str:
        """The unit for an error message; "" for a share, whose range says it."""
        return "" if self.unit == "0..1" else self.unit


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("e2e_time", "s", "lower"),
        Metric("p_whole", "images/s", "higher"),
        Metric("p_train", "images/s", "higher"),
        Metric("p_core", "images/s", "higher"),
        Metric("map", "0..1", "higher", tolerance=0.004, is_absolute=True, allowed=Range(0, 1, low_open=True)),
        Metric("mem", "GiB", "lower"),
    )
}
"""The six metrics by name, in the order of the table's columns."""

LARGEST_TOLERANCE: dict[str, float] = {name: 0.02 if name == "map" else 0.10 for name in METRICS}
"""By metric, relative, but absolute for `map`: a wider bound proves nothing. For accepted values, and device files."""

ABSOLUTE_TOLERANCE = frozenset(name for name, metric in METRICS.items() if metric.is_absolute)


def default_bounds(
    metric: Metric, value: float, tolerance: float | None = None, capacity: float | None = None
) -> Bounds:
    """Return the bounds around a published `value`; without `tolerance`, the metric's own.

    Higher is better: low = value x (1 - tolerance), for `map` value - tolerance. Lower is better:
    high = value x (1 + tolerance), never above `capacity`.

    >>> default_bounds(METRICS["mem"], 28.0, capacity=32.0)
    (None, 29.4)
    """
    if tolerance is None:
        tolerance = metric.tolerance
    # Decimal arithmetic, so that 28.0 x 1.05 is 29.4 and 0.364 - 0.004 is 0.36 to the last digit.
    published, slack = Decimal(repr(float(value))), Decimal(repr(float(tolerance)))
    if not metric.is_absolute:
        slack *= published
    if metric.better == "higher":
        return float(published - slack), None
    high = float(published + slack)
    return None, high if capacity is None else min(high, capacity)
