"""The bounds that decide, computed from a published number and its tolerance."""

from __future__ import annotations

from decimal import Decimal
from typing import Optional, Tuple

from expected.metrics import Metric

DEFAULT_TOLERANCE: dict[str, float] = {
    "e2e_time": 0.05,
    "p_whole": 0.05,
    "p_train": 0.05,
    "p_core": 0.05,
    "map": 0.004,
    "mem": 0.05,
}
"""How far a measurement may be worse than the published number: relative, but absolute for `map`."""

ABSOLUTE_TOLERANCE = frozenset({"map"})

Bounds = Tuple[Optional[float], Optional[float]]


def default_bounds(
    metric: Metric, value: float, tolerance: float | None = None, capacity: float | None = None
) -> Bounds:
    """(low, high) around a published `value`, in the metric's unit; the side that is None does not decide.

    Higher is better: low = value x (1 - tolerance), for `map` value - tolerance. Lower is better:
    high = value x (1 + tolerance), never above `capacity`. Without `tolerance`, DEFAULT_TOLERANCE.
    """
    if tolerance is None:
        tolerance = DEFAULT_TOLERANCE[metric.name]
    # In decimal, as with a pencil: 28.0 x 1.05 is 29.4 and 0.364 - 0.004 is 0.36, to the last digit.
    published, slack = Decimal(repr(float(value))), Decimal(repr(float(tolerance)))
    if metric.name not in ABSOLUTE_TOLERANCE:
        slack *= published
    if metric.better == "higher":
        return float(published - slack), None
    high = float(published + slack)
    return None, high if capacity is None else min(high, capacity)
