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
    `doubtful` is the factor beyond which a measurement is too good to be believed; None for no such factor.
    """

    name: str
    unit: str
    better: str
    tolerance: float = 0.05
    is_absolute: bool = False
    allowed: Range = POSITIVE
    doubtful: float | None = None

    def too_good(self, value: float, known: float) -> bool:
        """Return whether `value` is so much better than the `known` number that a fault is likelier than the device.

        >>> METRICS["p_core"].too_good(301.0, 200.0), METRICS["e2e_time"].too_good(301.0, 200.0)
        (True, False)
        """
        if self.doubtful is None:
            return False
        return value > self.doubtful * known if self.better == "higher" else value * self.doubtful < known

    @property
    def spoken_unit(self) -> str:
        """The unit for an error message; "" for a share, whose range says it."""
        return "" if self.unit == "0..1" else self.unit


_DOUBTFUL = 1.5

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("e2e_time", "s", "lower", doubtful=_DOUBTFUL),
        Metric("p_whole", "images/s", "higher", doubtful=_DOUBTFUL),
        Metric("p_train", "images/s", "higher", doubtful=_DOUBTFUL),
        Metric("p_core", "images/s", "higher", doubtful=_DOUBTFUL),
        Metric("map", "0..1", "higher", tolerance=0.004, is_absolute=True, allowed=Range(0, 1, low_open=True)),
        Metric("mem", "GiB", "lower"),
    )
}
"""The six metrics by name, in the order of the table's columns."""

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
