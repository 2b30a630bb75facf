"""Steps in a series of values over time: where its level changed for good, told from scatter and from outliers."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    import numpy as np

FALSE_STEPS = 0.01
"""The share of series of independent scatter alone in which a step is found, about."""
FEWEST = 3
"""Values at one level; fewer that lie apart are outliers."""
RESOLUTION = 0.001
"""Relative; no smaller step is told, and scatter counts as no less: values that hardly scatter have no outliers."""

_CLIP = 3.0  # deviations that a single value counts for at most
_FEW, _DRAWS = 60, 1999  # where the bound is too wide to show a step, orders of the values drawn at random tell
_SEED = 20171117  # fixed: the same series always has the same steps
_MAD, _NORMAL_MAD = math.sqrt(2), 0.6745  # differences scatter more than values; the normal's MAD in deviations


@dataclass(frozen=True)
class Step:
    """The level of a series changed between `at` - 1 and `at`; levels are medians of what lies on either side."""

    at: int
    before: float
    after: float
    p: float

    @property
    def share(self) -> float:
        """By how much of the level before; infinite where that is 0."""
        return math.inf if self.before == 0 else self.after / self.before - 1


def find_steps(values: Sequence[float]) -> tuple[Step, ...]:
    """The steps of a series, in its order; none for fewer than 2 x FEWEST values. All values are finite.

    Binary segmentation (Scott and Knott, 1974; Vostrikova, 1981): the series is cut where its two parts differ most, if
    that is more than chance does, and so are the parts. Afterwards each cut has to hold against its neighbours alone.

    The statistic is that of Hothorn and Lausen (2003), a maximally selected one over all cuts that leave FEWEST
    values on both sides, of Huber's scores: a value's distance from the median, in deviations, at most 3. An outlier
    thus weighs as much as a value at 3 deviations, and it takes three in a row to make a step. The deviation is that
    of neighbours' differences, which steps do not widen (von Neumann, 1941, with the median for robustness). The chance
    of as large a maximum without any step is bounded as Miller and Siegmund (1982) do; in few values, where that bound
    is wide, it is a permutation test's.

    Values that resemble their neighbours (a slow drift) may be told as steps: they are none of independent scatter.
    """
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    cuts = _cut(series, 0, len(series))
    return tuple(_settled(series, sorted(cuts)))


def _cut(series: np.ndarray, begin: int, end: int) -> list[int]:
    found: list[int] = []
    open_parts = [(begin, end)]
    while open_parts:
        left, right = open_parts.pop()
        at, p = _best_cut(series[left:right])
        if p <= FALSE_STEPS:
            found.append(left + at)
            open_parts += [(left, left + at), (left + at, right)]
    return found


def _settled(series: np.ndarray, cuts: list[int]) -> list[Step]:
    """The cuts that hold between their neighbours: each in its best place there, the weakest taken out in turn."""
    import numpy as np

    edges = [0, *cuts, len(series)]
    cuts = [left + _best_cut(series[left:right])[0] for left, right in zip(edges, edges[2:])]
    while cuts:
        edges = [0, *cuts, len(series)]
        chances = [_best_cut(series[left:right])[1] for left, right in zip(edges, edges[2:])]
        weakest = max(range(len(cuts)), key=chances.__getitem__)
        if chances[weakest] <= FALSE_STEPS:
            levels = [float(np.median(series[left:right])) for left, right in zip(edges, edges[1:])]
            return [Step(*one) for one in zip(cuts, levels, levels[1:], chances)]
        del cuts[weakest]
    return []


def _best_cut(part: np.ndarray) -> tuple[int, float]:
    """(where the part's two sides differ most, the chance of that without a step)."""
    import numpy as np

    count = len(part)
    if count < 2 * FEWEST:
        return count // 2, 1.0
    centre = float(np.median(part))
    scatter = max(_scatter(part), RESOLUTION * abs(centre), sys.float_info.min)
    scores = np.clip((part - centre) / scatter, -_CLIP, _CLIP)
    scores = scores - scores.mean()
    # Never less than that of scatter alone: a single outlier among equal values would otherwise be all there is.
    variance = max(float((scores * scores).sum()) / (count - 1), 1.0)
    found = _statistics(scores) / math.sqrt(variance)
    best = int(found.argmax())
    largest, at = float(found[best]), best + FEWEST
    if abs(np.median(part[at:]) - np.median(part[:at])) <= RESOLUTION * abs(centre):
        return at, 1.0
    chance = _chance(largest, count)
    if chance > FALSE_STEPS and count <= _FEW:
        generator = np.random.Generator(np.random.PCG64(_SEED))
        shuffled = scores[generator.random((_DRAWS, count)).argsort(axis=1)]
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


def _scatter(part: np.ndarray) -> float:
    import numpy as np

    return float(np.median(np.abs(np.diff(part)))) / _NORMAL_MAD / _MAD


def _chance(largest: float, count: int) -> float:
    """An upper bound of the chance that the largest of the standardised sums over all cuts is this or more."""
    if largest <= 1:
        return 1.0
    density = math.exp(-largest * largest / 2) / math.sqrt(2 * math.pi)
    first = FEWEST / count
    span = 2 * math.log((1 - first) / first)
    return min(1.0, density * (4 / largest + (largest - 1 / largest) * span))
