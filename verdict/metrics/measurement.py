"""A metric's value with all that a reader needs to trust it."""

from __future__ import annotations

from dataclasses import dataclass

from evidence.verdict import Interval


@dataclass(frozen=True)
class Measurement:
    """A metric's value with its unit, how and from what it was computed, and from how many readings (`n`).

    `n` counts the steps of the slowest rank for rates, samples for mem, ranks for e2e_time, images for map; below
    `least` of them there is no interval. `doubt` says why the number may fail but not pass; "" for no reason.
    """

    metric: str
    value: float
    unit: str
    interval: Interval | None
    method: str
    source: str
    n: int
    least: int = 0
    doubt: str = ""
