"""Statistics behind the verdicts: rates, confidence intervals, Student's t, autocorrelation, the block bootstrap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from evidence.verdict import Interval

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
BLOCKS = 10
"""About so many blocks of neighbouring samples fit into a run; more would gain little width and miss drifts."""
MIN_INDEPENDENT = 2.0
"""With fewer independent blocks than this a run decides only what each of its blocks decides alone."""
MIN_SAMPLES = 8
"""With fewer windows than this the steps are cut into smaller samples."""
MIN_STEPS = 16
"""With fewer steps than this there is no interval."""
BETWEEN_RUNS = 0.01
"""Standard deviation of a rate from boot to boot of the same machine, as a share of it, where it is not measured.

Of hardware (temperature, clocks, placement in memory): simulated time has none."""
NORMAL_MAD = 0.6745
"""The median absolute deviation of the normal distribution, in standard deviations."""
NORMAL_QUANTILE = 1.959964
"""The 97.5 % quantile of the normal distribution, in standard deviations."""

_SEED = 20171117  # fixed: the same evidence always gives the same numbers
_MOST_AUTOCORRELATION = 0.7  # ten blocks cannot show more; it makes an interval 2.4 times as wide


def total(values: np.ndarray) -> float:
    """The sum in float64: exact for whole numbers below 2**53, and no silent overflow of int64 above."""
    return float(values.sum(dtype=float))


def rate_per_s(images: float, time_ns: float) -> float | None:
    """Images per second: total over total, never a mean of rates; None for a time that is not positive.

    >>> rate_per_s(20, 5e9)
    4.0
    """
    return images * 1e9 / time_ns if time_ns > 0 else None


def sample_starts(sizes: np.ndarray) -> np.ndarray | None:
    """The index of the first step of each sample of a run's rate; None for fewer than MIN_STEPS steps.

    `sizes` has the steps in each window. The samples are the windows; where these are fewer than MIN_SAMPLES, equal
    parts of the steps, about 2 x MIN_SAMPLES of them.
    """
    import numpy as np

    steps = int(sizes.sum())
    if steps < MIN_STEPS:
        return None
    if len(sizes) >= MIN_SAMPLES:
        return np.concatenate(([0], np.cumsum(sizes[:-1])))
    return np.arange(0, steps, steps // (2 * MIN_SAMPLES))


@dataclass(frozen=True)
class RateInterval:
    """A rate's interval, and how many independent blocks the run is estimated to hold, at most about BLOCKS."""

    interval: Interval
    independent: float


def rate_interval(images: np.ndarray, time_ns: np.ndarray) -> Interval | None:
    """The interval of `bootstrapped` alone."""
    found = bootstrapped(images, time_ns)
    return None if found is None else found.interval


def bootstrapped(images: np.ndarray, time_ns: np.ndarray) -> RateInterval | None:
    """The confidence interval of total images over total time, in images/s, by a circular block bootstrap.

    One entry a sample, in the order in which they ran. None for fewer than MIN_SAMPLES samples, or if a resample has
    no time in it.

    Steps are autocorrelated, and speed drifts (temperature, clock, sizes of images), so blocks of neighbouring samples
    are drawn, each a tenth of the run: the correlation within a block then counts as it should, and no block length
    has to be estimated, for which ten windows are too few. The bootstrap over ten blocks underestimates the variance,
    which Student's t corrects. Blocks that resemble their neighbours are not independent, and inflate it further: of b
    blocks with a correlation r, b (1 - r) / (1 + r) count, as in a first-order autoregression. Where fewer than
    MIN_INDEPENDENT do, the interval holds at least what the blocks themselves show, from the slowest to the fastest.

    Circular block bootstrap: Politis and Romano, A circular block-resampling procedure for stationary data, 1992.
    Few blocks, Student's t: Schmeiser, Batch size effects in the analysis of simulation output, 1982; a fixed share of
    the series: Kiefer and Vogelsang, 2005.
    """
    import numpy as np

    count, point = len(images), rate_per_s(total(images), total(time_ns))
    if count < MIN_SAMPLES or point is None:
        return None
    length = round(count / BLOCKS)
    fitting = count / length  # rarely whole; a resample takes whole blocks
    draws = int(fitting)
    images_of, ns_of = _circular_sums(images, length), _circular_sums(time_ns, length)
    first = seeded().integers(0, count, size=(draws, RESAMPLES))
    drawn_images, drawn_ns = images_of.take(first).sum(axis=0), ns_of.take(first).sum(axis=0)
    if drawn_ns.min() <= 0:
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn_images * 1e9 / drawn_ns, (tail, 1 - tail))
    freedom = fitting - 1
    correlation = autocorrelation(images_of - ns_of * (point / 1e9), length)
    wider = t_quantile(freedom) / NORMAL_QUANTILE * math.sqrt(inflated(draws / freedom, correlation))
    interval = Interval(point - (point - float(low)) * wider, point + (float(high) - point) * wider)
    independent = fitting / inflated(1.0, correlation)
    if independent < MIN_INDEPENDENT:
        rates = (images_of * 1e9 / ns_of)[: count - length + 1 : length]
        interval = interval.around(float(rates.min())).around(float(rates.max()))
    return RateInterval(interval, independent)


def with_between_runs(within: Interval, rate: float, spread: float) -> Interval:
    """The interval of a rate, from that of the steps of one run, and the standard deviation between runs, relative.

    >>> with_between_runs(Interval(97.0, 103.0), 100.0, 0.02)
    Interval(low=95.06..., high=104.93...)
    """
    reach = NORMAL_QUANTILE * spread * rate
    return Interval(rate - math.hypot(rate - within.low, reach), rate + math.hypot(within.high - rate, reach))


def steps_to_decide(
    value: float, interval: Interval, bound: float, steps: int, within: Interval | None = None
) -> int | None:
    """How many more steps would bring `interval`, which came from `steps` steps, clear of `bound`.

    `within` is the part of the interval that steps narrow, where that is not all of it. An estimate: the width shrinks
    with the square root of the number of steps, and both value and width of a longer run scatter too. 0 if the interval
    is clear already, None if no number of steps is enough.

    >>> steps_to_decide(100.0, Interval(90.0, 110.0), bound=95.0, steps=400)
    1200
    """
    distance = abs(value - bound)
    reach = value - interval.low if bound < value else interval.high - value
    if reach < distance:
        return 0
    if distance == 0:
        return None
    if within is not None:
        narrowed = value - within.low if bound < value else within.high - value
        left = distance**2 - max(reach**2 - narrowed**2, 0.0)
        if left <= 0:
            return None
        reach, distance = narrowed, math.sqrt(left)
    ratio = reach / distance
    needed = steps * ratio * ratio  # not ratio ** 2, which raises where this is infinite
    return max(1, math.ceil(needed) - steps) if math.isfinite(needed) else None


def autocorrelation(deviations: np.ndarray, lag: int = 1) -> float:
    """The correlation of values with those `lag` places later, from 0 to 0.7, corrected for the estimated mean.

    `deviations` are from the mean. With `lag` > 1 they are sums over `lag` neighbouring samples, one starting at each
    sample, the last ones continued at the beginning of the series; those are left out as neighbours.
    """
    square = float((deviations * deviations).mean())
    if square == 0:
        return 0.0
    inside = deviations[: len(deviations) - lag + 1]
    correlation = float((inside[:-lag] * inside[lag:]).mean()) / square
    # About their own mean, independent values have an expected correlation of minus one over their number.
    return min(max(correlation + lag / len(deviations), 0.0), _MOST_AUTOCORRELATION)


def inflated(variance: float, correlation: float) -> float:
    """The variance of a mean of independent values, inflated to that of a first-order autoregression."""
    return variance * (1 + correlation) / (1 - correlation)


_SIMPSON = (1, *(4, 2) * 99, 4, 1)
"""Weights of Simpson's rule with 200 steps, in thirds of a step."""


@lru_cache(maxsize=1024)
def t_quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """The t between whose positive and negative value `confidence` of Student's distribution lies: 97.5 % lie below.

    For `freedom` >= 1 degrees of freedom, which need not be whole. From 6.5 on, at CONFIDENCE, the expansion about the
    normal distribution (Abramowitz and Stegun, 26.7.5), 0.05 % off at most, which the intervals of rates use; else the
    distribution is integrated and its quantile found by Newton's method.
    """
    if freedom >= 6.5 and confidence == CONFIDENCE:
        z = NORMAL_QUANTILE
        first = (z**3 + z) / 4
        second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + first / freedom + second / freedom**2 + third / freedom**3
    angle = 0.0
    for _ in range(100):  # Newton's method, from below on a concave function: it never passes the quantile
        step = (confidence - _t_within(angle, freedom)) / (2 * _t_scale(freedom) * math.cos(angle) ** (freedom - 1))
        angle += step
        if step < 1e-13:
            break
    return math.sqrt(freedom) * math.tan(angle)


def t_beyond(t: float, freedom: float) -> float:
    """The share of Student's distribution that lies beyond `t` >= 0 on either side: p of a two-sided test.

    >>> t_beyond(2.776, 4)
    0.05002...
    """
    return max(0.0, 1 - _t_within(math.atan(t / math.sqrt(freedom)), freedom))


def _t_within(angle: float, freedom: float) -> float:
    """The share of Student's distribution between the t of -angle and of angle: t = sqrt(freedom) tan(angle).

    The density is then a power of the cosine (Abramowitz and Stegun, 26.7.1).
    """
    heights = (weight * math.cos(angle * part / 200) ** (freedom - 1) for part, weight in enumerate(_SIMPSON))
    return 2 * _t_scale(freedom) * angle / 600 * sum(heights)


def _t_scale(freedom: float) -> float:
    return math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)


def seeded() -> np.random.Generator:
    """A random generator that starts at the same state in every call."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(_SEED))


def _circular_sums(values: np.ndarray, length: int) -> np.ndarray:
    """Sums over every `length` neighbours, the last ones continued by the first: float64, as long as `values`."""
    import numpy as np

    wrapped = np.concatenate((values, values[: length - 1])).astype(np.float64)
    sums = np.concatenate(([0.0], np.cumsum(wrapped)))
    return sums[length:] - sums[:-length]
