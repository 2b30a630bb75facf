"""Rates and their confidence intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evidence.verdict import Interval

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
STRETCHES = 10
"""About so many stretches of neighbouring blocks fit into a run; more would gain little width and miss drifts."""
MIN_BLOCKS = 8
"""With fewer windows than this the steps are cut into smaller blocks."""
MIN_STEPS = 16
"""With fewer steps than this there is no interval."""

_SEED = 20171117  # fixed: the same evidence always has the same interval
_MOST_LIKENESS = 0.7  # so few stretches cannot tell more; it makes an interval 2.4 times as wide
_Z = 1.959964  # of the normal distribution at 97.5 %


def total(values: np.ndarray) -> float:
    """The sum, exact for whole numbers below 2**53 and free of int64's silent overflow above."""
    return float(values.sum(dtype=float))


def rate_per_s(images: float, time_ns: float) -> float | None:
    """Images per second: total over total, never a mean of rates; None where no time has passed."""
    return images * 1e9 / time_ns if time_ns > 0 else None


def block_starts(sizes: np.ndarray) -> np.ndarray | None:
    """The index of the first step of each block that the bootstrap draws from.

    `sizes` has the steps in each window. The blocks are the windows; where these are fewer than MIN_BLOCKS, equal
    stretches of steps, about 2 x MIN_BLOCKS of them. None below MIN_STEPS steps.
    """
    import numpy as np

    steps = int(sizes.sum())
    if steps < MIN_STEPS:
        return None
    if len(sizes) >= MIN_BLOCKS:
        return np.concatenate(([0], np.cumsum(sizes[:-1])))
    return np.arange(0, steps, steps // (2 * MIN_BLOCKS))


def rate_interval(images: np.ndarray, time_ns: np.ndarray) -> Interval | None:
    """The confidence interval of total images over total time, in images/s, by a circular block bootstrap.

    One entry a block of steps, in the order in which they ran. None for fewer than MIN_BLOCKS blocks, or where some
    draw has no time in it.

    Steps resemble their neighbours, and speed drifts (temperature, clock, sizes of images), so neighbouring blocks
    are drawn together, in stretches of about a tenth of the run, however long it is: what happens within a stretch
    then counts as it should, and no length has to be guessed from the data, which tell little about it in ten
    windows. Ten stretches vary too little, which Student's t makes up for; where neighbouring stretches still
    resemble each other, the interval widens by as much as the deviation of a first-order autoregression with
    their correlation r exceeds that of independent ones, ((1 + r) / (1 - r)) ** 0.5.

    Circular block bootstrap: Politis and Romano, 1992. Few stretches, Student's t: Schmeiser, Batch size effects in
    the analysis of simulation output, 1982; a fixed share of the series: Kiefer and Vogelsang, 2005.
    """
    import numpy as np

    count, point = len(images), rate_per_s(total(images), total(time_ns))
    if count < MIN_BLOCKS or point is None:
        return None
    stretch = round(count / STRETCHES)
    fitting = count / stretch  # rarely whole; a draw takes whole stretches
    draws = int(fitting)
    images_of, ns_of = _stretches(images, stretch), _stretches(time_ns, stretch)
    first = np.random.Generator(np.random.PCG64(_SEED)).integers(0, count, size=(draws, RESAMPLES))
    drawn_images, drawn_ns = images_of.take(first).sum(axis=0), ns_of.take(first).sum(axis=0)
    if drawn_ns.min() <= 0:
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn_images * 1e9 / drawn_ns, (tail, 1 - tail))
    freedom = fitting - 1
    likeness = _likeness(images_of - ns_of * (point / 1e9), stretch)
    widening = _t_quantile(freedom) / _Z * math.sqrt(draws / freedom * (1 + likeness) / (1 - likeness))
    return Interval(point - (point - float(low)) * widening, point + (float(high) - point) * widening)


def steps_to_decide(value: float, interval: Interval, bound: float, steps: int) -> int | None:
    """How many more steps would bring `interval`, which came from `steps` steps, clear of `bound`.

    The width of an interval shrinks with the square root of the number of steps. This is an estimate: value and width
    of a longer run scatter as well. 0 where the interval is clear already, None where `value` is the bound, so that
    no number of steps would do.
    """
    distance = abs(value - bound)
    reach = value - interval.low if bound < value else interval.high - value
    if reach < distance:
        return 0
    if distance == 0:
        return None
    ratio = reach / distance
    needed = steps * ratio * ratio  # not ratio ** 2, which raises where this is infinite
    return max(1, math.ceil(needed) - steps) if math.isfinite(needed) else None


def _stretches(values: np.ndarray, stretch: int) -> np.ndarray:
    """Sums over every `stretch` neighbours, the last ones continued by the first: float64, as long as `values`."""
    import numpy as np

    wrapped = np.concatenate((values, values[: stretch - 1])).astype(np.float64)
    sums = np.concatenate(([0.0], np.cumsum(wrapped)))
    return sums[stretch:] - sums[:-stretch]


def _likeness(excess: np.ndarray, stretch: int) -> float:
    """The correlation of each stretch with the next, from 0 to _MOST_LIKENESS.

    `excess` has what stretches of so many blocks did above the mean, beginning at every block.
    """
    square = float((excess * excess).mean())
    if square == 0:
        return 0.0
    inside = excess[: len(excess) - stretch + 1]  # the others go on at the beginning, which is no neighbour of the end
    correlation = float((inside[:-stretch] * inside[stretch:]).mean()) / square
    # Taken about their own mean, independent stretches have minus one over their number.
    return min(max(correlation + stretch / len(excess), 0.0), _MOST_LIKENESS)


def _t_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, by its expansion about the normal (Abramowitz and Stegun, 26.7.5)."""
    z = _Z
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
