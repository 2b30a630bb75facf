"""Times the suite's way beside a reference way, by turns in one process, and says how many times as fast it is."""

from __future__ import annotations

import gc
import math
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any, Callable, Sequence

FEWEST_ROUNDS = 5
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """How many times as fast ours was: the median over the rounds of reference over ours, with its interval.

    `ours_s` and `reference_s` are the times of each round in seconds; `ours_rate` and `reference_rate` the units a
    second of the median round, in `unit`.
    """

    name: str
    ratio: float
    interval: tuple[float, float]
    ours_s: tuple[float, ...]
    reference_s: tuple[float, ...]
    ours_rate: float
    reference_rate: float
    unit: str

    def __str__(self) -> str:
        low, high = self.interval
        rates = f"{self.ours_rate:12.5g} {self.unit}/s   reference {self.reference_rate:12.5g} {self.unit}/s"
        return f"{self.name:<44} ours {rates}   ratio {self.ratio:7.2f}   [{low:.2f}, {high:.2f}]"


def beside(
    benchmark: Any,
    ours: Callable[[], Any],
    reference: Callable[[], Any],
    *,
    name: str,
    rounds: int = FEWEST_ROUNDS,
    units: float = 1.0,
    unit: str = "images",
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Call `ours` and `reference` by turns, after one call of each that is not measured, and compare their times.

    Either does `units` of work a call. What is kept in the benchmark (`--benchmark-json`) are the times of `ours`; the
    ratio with its interval, and both lists of times, are its extra info. The garbage of one way is collected before
    the other is timed. Raises ValueError for fewer than five rounds, which have no interval worth the name.
    """
    if rounds < FEWEST_ROUNDS:
        raise ValueError(f"{rounds} rounds, expected at least {FEWEST_ROUNDS}: fewer have no interval worth the name")
    ours(), reference()
    taken: list[tuple[float, float]] = []

    def reference_first() -> None:
        gc.collect()
        begun_s = clock()
        reference()
        taken.append((clock() - begun_s, math.nan))
        gc.collect()

    def timed() -> None:
        begun_s = clock()
        ours()
        taken[-1] = taken[-1][0], clock() - begun_s

    benchmark.pedantic(timed, setup=reference_first, rounds=rounds, iterations=1, warmup_rounds=0)
    found = ratio_of(name, [pair[1] for pair in taken], [pair[0] for pair in taken], units=units, unit=unit)
    benchmark.extra_info.update(asdict(found))
    print(f"\n{found}")
    return found


def ratio_of(name: str, ours_s: Sequence[float], reference_s: Sequence[float], *, units: float, unit: str) -> Ratio:
    """The ratio of paired times in seconds, and an interval of the median ratio by order statistics.

    The interval lies between the k-th smallest and k-th largest ratio, with the largest k for which the sign test gives
    it at least 95 % (David and Nagaraja, Order Statistics, 7.1); with five rounds that is all of them, at 94 %.
    """
    ratios = sorted(reference / own for own, reference in zip(ours_s, reference_s))
    outside = _outside(len(ratios))
    return Ratio(
        name=name,
        ratio=statistics.median(ratios),
        interval=(ratios[outside], ratios[-1 - outside]),
        ours_s=tuple(ours_s),
        reference_s=tuple(reference_s),
        ours_rate=units / statistics.median(ours_s),
        reference_rate=units / statistics.median(reference_s),
        unit=unit,
    )


def _outside(count: int) -> int:
    """How many ratios lie outside of the interval on either side: as many as leave it its confidence."""
    outside, tail = 0, 0.5**count
    while True:
        tail += math.comb(count, outside + 1) * 0.5**count
        if 2 * tail > 1 - _CONFIDENCE or 2 * (outside + 1) >= count:
            return outside
        outside += 1
