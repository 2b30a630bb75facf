"""How the samples of a training become one number: each metric's unit, its reduction over time and that over cards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping

from evidence.bundle import Evidence
from evidence.telemetry import Card
from verdict.metrics.memory import training_ns

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Reduction:
    """What is done to a metric: "max", "mean" (over time weighted by it), "last" or "any" (each reason named)."""

    unit: str
    over_time: str
    over_cards: str


REDUCTIONS: Mapping[str, Reduction] = {
    "memory_used_gib": Reduction("GiB", "max", "max"),
    "memory_total_gib": Reduction("GiB", "last", "max"),
    "power_w": Reduction("W", "mean", "mean"),
    "temperature_c": Reduction("C", "max", "max"),
    "use_percent": Reduction("%", "mean", "mean"),
    "core_clock_mhz": Reduction("MHz", "mean", "mean"),
    "memory_clock_mhz": Reduction("MHz", "mean", "mean"),
    "throttle": Reduction("reason", "any", "any"),
    "clock_reasons": Reduction("reason", "any", "any"),
    "host_memory_used_gib": Reduction("GiB", "max", "max"),
    "host_memory_total_gib": Reduction("GiB", "last", "max"),
    "host_cpu_percent": Reduction("%", "mean", "mean"),
    "host_load_1m": Reduction("processes", "mean", "mean"),
    "host_temperature_c": Reduction("C", "max", "max"),
}
"""As the samplers declare them, which judging cannot ask."""


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
            number = over_time(REDUCTIONS[name].over_time, samples.t_ns[inside], column[inside])
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
        name: max(numbers) if REDUCTIONS[name].over_cards == "max" else sum(numbers) / len(numbers)
        for name, numbers in by_name.items()
    }
