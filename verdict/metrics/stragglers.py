"""Stragglers: ranks whose forward passes, in which none waits for another, take longer than those of their siblings."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.files import WORK_SCHEMA
from evidence.verdict import Interval
from verdict.metrics.statistics import (
    NORMAL_MAD,
    NORMAL_QUANTILE,
    rate_interval,
    rate_per_s,
    t_quantile,
    total,
)
from verdict.metrics.throughput import by_window, window_sums

if TYPE_CHECKING:
    import numpy as np

STRAGGLER_TOLERANCE = 0.05
"""Share by which a rank's forward passes may take longer than the other ranks' before it is a straggler."""

DEVICE_SPREAD = 0.02
"""Standard deviation of the speed of sound devices of a model, relative, where too few ranks show it."""

MIN_SPREAD_RANKS = 3
"""With fewer other ranks than this their spread is not estimated."""


@dataclass(frozen=True)
class Straggler:
    """A rank on its device, and the share by which its forward passes took longer than the other ranks' median."""

    rank: int
    host: str
    card: int
    slower: float

    @property
    def place(self) -> str:
        """Which rank this is, and on which device of which host."""
        return f"rank {self.rank} (device {self.card} of {self.host})"

    def __str__(self) -> str:
        return f"{self.place} is {self.slower:.0%} slower than its siblings"


def stragglers(evidence: Evidence) -> tuple[Straggler, ...]:
    """The ranks that are slower than the others by more than the tolerance, the slowest first."""
    return tuple(one for one in paces(evidence) if one.slower > STRAGGLER_TOLERANCE)


def paces(evidence: Evidence) -> list[Straggler]:
    """Every rank against the median of the others, slow or not, the slowest first; none for a single rank.

    Compares forward time per image, of the forward passes that were timed. Backward passes end with DDP's all-reduce,
    in which every rank waits for the slowest, so they take the same time on all of them.
    """
    took = _forward_times(evidence)
    found = []
    for number, start in evidence.starts:
        others = [time_ns for other, time_ns in took.items() if other != number]
        if number not in took or not others or statistics.median(others) <= 0:
            continue
        slower = took[number] / statistics.median(others) - 1
        found.append(Straggler(number, start.host, start.card, slower))
    return sorted(found, key=lambda one: -one.slower)


def pace_interval(evidence: Evidence, one: Straggler) -> Interval:
    """The 95 % interval of a rank's straggler ratio, 1 + slower, which is one of those that `paces` returns.

    Above it, what the scatter of the windows allows, by block bootstrap (with few windows nothing): is the rank surely
    no slower than that? Below it also what the spread of sound devices allows, by Student's prediction interval for one
    more sibling: is the rank surely slower than a sound one may be? The spread is that of the other ranks, by their
    median absolute deviation, so that a second slow rank does not hide the first. Of too few ranks it is
    DEVICE_SPREAD, and 0 on simulated time.
    """
    ratio, took = 1 + one.slower, _forward_times(evidence)
    others = [time_ns for rank, time_ns in took.items() if rank != one.rank]
    middle = statistics.median(others)
    if len(others) >= MIN_SPREAD_RANKS:
        spread = statistics.median(abs(time_ns - middle) for time_ns in others) / middle / NORMAL_MAD
        reach = t_quantile(len(others) - 1) * spread
    else:
        reach = 0.0 if evidence.simulated else NORMAL_QUANTILE * DEVICE_SPREAD
    reach *= math.sqrt(1 + 1 / len(others))
    scatter = _window_ratio(evidence, one.rank, ratio)
    if scatter is None:
        return Interval(ratio - reach, ratio)
    return Interval(ratio - math.hypot(ratio - scatter.low, reach), scatter.high)


def forward_images(rank: RankEvidence) -> float:
    """The images whose forward passes were timed."""
    return total(_forward_images(rank))


def _forward_images(rank: RankEvidence) -> np.ndarray:
    """The images whose forward passes were timed, by window.

    Older versions timed all, but where compute is timed by windows only how long queueing took: of those there are
    none.
    """
    import numpy as np

    windows = rank.windows.measured
    if rank.start is None or rank.start.schema >= WORK_SCHEMA:
        return windows.forward_images
    if by_window(rank) or not len(windows.size):
        return np.zeros_like(windows.forward_images)
    return window_sums(windows, windows.images)


def _forward_times(evidence: Evidence) -> dict[int, float]:
    """The time of a forward pass for an image, in ns, by rank; of ranks that introduced themselves and trained."""
    took: dict[int, float] = {}
    for rank in evidence.ranks:
        images = forward_images(rank)
        if rank.start is not None and images > 0:
            took[rank.rank] = total(rank.windows.measured.forward_ns) / images
    return took


def _window_ratio(evidence: Evidence, rank: int, ratio: float) -> Interval | None:
    """The interval of a straggler ratio that comes from its scatter over windows; None for too few of them."""
    import numpy as np

    times = {}
    for other in evidence.ranks:
        images = _forward_images(other)
        if other.start is not None and total(images) > 0:
            times[other.rank] = other.windows.measured.forward_ns / np.maximum(images, 1)
    shortest = min(map(len, times.values()))
    mine = times.pop(rank)[:shortest]
    others = np.median([time_ns[:shortest] for time_ns in times.values()], axis=0)
    found, point = rate_interval(mine, others), rate_per_s(total(mine), total(others))
    return None if found is None or not point else found.scaled(ratio / point).around(ratio)
