"""Change points of a series of values over time: where its level changed for good, beyond scatter and outliers."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence

from verdict.metrics.statistics import NORMAL_MAD, seeded

if TYPE_CHECKING:
    import numpy as np

FALSE_ALARMS = 0.01
"""The share of series of independent scatter alone in which a change is found, about."""
FEWEST = 3
"""Values at one level; fewer that lie apart are outliers."""
RESOLUTION = 0.001
"""Relative: the smallest change that is found, and the least scatter that is assumed."""

_CLIP = 3.0  # deviations that a single value counts for at most
_FEW, _DRAWS = 60, 1999  # up to so many values a permutation test of so many draws decides where the bound is too wide


@dataclass(frozen=True)
class ChangePoint:
    """The level of a series changed between `at` - 1 and `at`; levels are medians of what lies on either side."""

    at: int
    before: float
    after: float
    p: float

    @property
    def share(self) -> float:
        """The change relative to the level before; infinite if that is 0."""
        return math.inf if self.before == 0 else self.after / self.before - 1


def find_change_points(values: Sequence[float]) -> tuple[ChangePoint, ...]:
    """The change points of a series of finite values, in its order; none for fewer than 2 x FEWEST values.

    Binary segmentation (Scott and Knott, 1974; Vostrikova, 1981): the series is cut where its two parts differ most, if
    that is more than chance, and so are the parts. Afterwards each cut has to hold against its neighbours alone.

    The statistic is the maximally selected one of Hothorn and Lausen (2003), over all cuts that leave FEWEST values on
    both sides, of Huber's scores: a value's distance from the median in deviations, at most 3. An outlier so weighs as
    much as a value at 3 deviations, and a change takes three in a row. The deviation is that of differences between
    neighbours, which changes do not increase (von Neumann, 1941, with the median for robustness). The probability of as
    large a maximum without a change is bounded as by Miller and Siegmund (1982), and for few values, where that bound
    is wide, found by a permutation test.

    Assumes independent scatter: a slow drift may be found as changes.

    >>> [change.at for change in find_change_points([100.0, 101.0, 99.0, 100.0] + 3 * [90.0, 91.0, 89.0])]
    [4]
    """
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    cuts: list[int] = []
    open_parts = [(0, len(series))]
    while open_parts:
        left, right = open_parts.pop()
        at, p = _best_cut(series[left:right])
        if p <= FALSE_ALARMS:
            cuts.append(left + at)
            open_parts += [(left, left + at), (left + at, right)]
    return tuple(_settled(series, sorted(cuts)))


def _settled(series: np.ndarray, cuts: list[int]) -> list[ChangePoint]:
    """The cuts that hold between their neighbours: each in its best place there, the weakest removed in turn."""
    import numpy as np

    edges = [0, *cuts, len(series)]
    cuts = [left + _best_cut(series[left:right])[0] for left, right in zip(edges, edges[2:])]
    while cuts:
        edges = [0, *cuts, len(series)]
        chances = [_best_cut(series[left:right])[1] for left, right in zip(edges, edges[2:])]
        weakest = max(range(len(cuts)), key=chances.__getitem__)
        if chances[weakest] <= FALSE_ALARMS:
            levels = [float(np.median(series[left:right])) for left, right in zip(edges, edges[1:])]
            return [ChangePoint(*one) for one in zip(cuts, levels, levels[1:], chances)]
        del cuts[weakest]
    return []


def _best_cut(part: np.ndarray) -> tuple[int, float]:
    """(where the part's two sides differ most, the probability of that without a change)."""
    import numpy as np

    count = len(part)
    if count < 2 * FEWEST:
        return count // 2, 1.0
    centre = float(np.median(part))
    # Differences of neighbours scatter by the square root of 2 more than the values.
    deviation = float(np.median(np.abs(np.diff(part)))) / NORMAL_MAD / math.sqrt(2)
    scatter = max(deviation, RESOLUTION * abs(centre), sys.float_info.min)
    scores = np.clip((part - centre) / scatter, -_CLIP, _CLIP)
    scores = scores - scores.mean()
    # At least that of scatter alone: a single outlier among equal values would otherwise be all there is.
    variance = max(float((scores * scores).sum()) / (count - 1), 1.0)
    found = _statistics(scores) / math.sqrt(variance)
    best = int(found.argmax())
    largest, at = float(found[best]), best + FEWEST
    if abs(np.median(part[at:]) - np.median(part[:at])) <= RESOLUTION * abs(centre):
        return at, 1.0
    chance = _chance(largest, count)
    if chance > FALSE_ALARMS and count <= _FEW:
        shuffled = scores[seeded().random((_DRAWS, count)).argsort(axis=1)]
        as_large = _statistics(shuffled).max(axis=1) / math.sqrt(variance) >= largest * (1 - 1e-9)
        chance = min(chance, (int(as_large.sum()) + 1) / (_DRAWS + 1))
    return at, chance


def _statistics(scores: np.ndarray) -> np.ndarray:
    """The sum of the scores before each cut over its deviation, along the last axis; scores with mean 0, variance 1."""
    import numpy as np

    count = scores.shape[-1]
    before = np.arange(FEWEST, count - FEWEST + 1)
    sums = np.abs(np.cumsum(scores, axis=-1)[..., FEWEST - 1 : count - FEWEST])
    return np.asarray(sums / np.sqrt(before * (count - before) / count))


def _chance(largest: float, count: int) -> float:
    """An upper bound of the probability that the largest of the standardised sums over all cuts is this or more."""
    if largest <= 1:
        return 1.0
    density = math.exp(-largest * largest / 2) / math.sqrt(2 * math.pi)
    first = FEWEST / count
    span = 2 * math.log((1 - first) / first)
    return min(1.0, density * (4 / largest + (largest - 1 / largest) * span))
