"""How the samples of a training become one number: each metric's unit, its reduction over time and that over cards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evidence.bundle import Evidence
from evidence.telemetry import READINGS, Card
from verdict.metrics.memory import training_ns

if TYPE_CHECKING:
    import numpy as np


def over_time(how: str, t_ns: np.ndarray, values: np.ndarray) -> float | None:
    """One number of a column; samples without a value (NaN) are left out, and of none at all there is none.

    A mean is weighted by time (trapezoids between neighbouring samples): intervals grow with the length of a run.
    """
    import numpy as np  # here, so that collecting tests does not pay for it

    told = ~np.isnan(values)
    order = np.argsort(t_ns[told], kind="stable")
    times, numbers = t_ns[told][order], values[told][order]
    if not len(numbers):
        return None
    if how == "max":
        return float(numbers.max())
    if how == "last":
        return float(numbers[-1])
    assert how == "mean", how
    widths = np.diff(times).astype(np.float64)
    if not widths.sum():
        return float(numbers.mean())
    return float((widths * (numbers[1:] + numbers[:-1]) / 2).sum() / widths.sum())


def card_readings(evidence: Evidence) -> dict[Card, dict[str, float]]:
    """Each card's readings in the training, reduced over time; of several tools, the first that has the reading."""
    ranks = {rank.rank: rank for rank in evidence.ranks}
    found: dict[Card, dict[str, float]] = {}
    for samples in evidence.telemetry.cards:
        begin_ns, end_ns = training_ns(ranks.get(samples.rank))
        inside = (samples.t_ns >= begin_ns) & (samples.t_ns <= end_ns)
        mine = found.setdefault(samples.card, {})
        for name, column in samples.readings.items():
            number = over_time(READINGS[name].over_time, samples.t_ns[inside], column[inside])
            if number is not None:
                mine.setdefault(name, number)
    return found


def run_readings(evidence: Evidence) -> dict[str, float]:
    """The readings of all cards of the run that have them, reduced over cards too."""
    by_name: dict[str, list[float]] = {}
    for readings in card_readings(evidence).values():
        for name, number in readings.items():
            by_name.setdefault(name, []).append(number)
    return {
        name: max(numbers) if READINGS[name].over_cards == "max" else sum(numbers) / len(numbers)
        for name, numbers in by_name.items()
    }
