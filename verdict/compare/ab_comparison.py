"""A/B comparison of two runs, or of two groups of runs, of a cell: ratio, interval, effect size and significance."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping, Sequence

from evidence.verdict import Interval
from verdict.metrics.statistics import BLOCKS, MIN_SAMPLES, autocorrelation, inflated, seeded, t_quantile
from verdict.metrics.throughput import RateSamples

if TYPE_CHECKING:
    import numpy as np

PERMUTATIONS = 4999
"""Drawn at random if there are more ways than that to permute the values; the test's least p is 1 in 5000."""


@dataclass(frozen=True)
class ABComparison:
    """How a metric of B compares with that of A.

    `ratio` is B over A, `interval` its 95 % interval, `effect` Hedges' g on the logarithms, `p` the probability of as
    large a difference if A and B do not differ; each None if it is not known, and `why_not` says why.
    """

    metric: str
    first: float
    second: float
    ratio: float | None
    interval: Interval | None = None
    effect: float | None = None
    p: float | None = None
    why_not: str = ""


def compare_runs(metric: str, first: RateSamples, second: RateSamples) -> ABComparison:
    """Compare a rate of two independent runs that were made under comparable circumstances.

    Each run is cut into BLOCKS blocks of neighbouring samples, as for the interval of one rate, so that what steps have
    in common with their neighbours stays within a block. All three numbers are of the logarithms of the blocks' rates,
    so that A against B and B against A give the same. The interval is Welch's (1947). `p` is from a permutation test
    of Welch's t, which is valid for unequal variances too (Janssen, 1997). Standard errors are inflated by the
    autocorrelation of the blocks. The effect is in deviations of a tenth of a run, whatever its length: Hedges, 1981.

    Differences from run to run, which two runs cannot show, are in none of it.
    """
    rates = first.rate or 0.0, second.rate or 0.0
    if not all(rates):
        return ABComparison(metric, *rates, None, why_not="no time has passed in one of them")
    ratio = rates[1] / rates[0]
    sides = [logs for logs in map(_block_logs, (first, second)) if logs is not None]
    if len(sides) < 2:
        return ABComparison(metric, *rates, ratio, why_not="one of them has too few steps")
    return _compare(metric, rates, math.log(ratio), sides, [math.sqrt(_inflation(side)) for side in sides])


def compare_groups(metric: str, first: Sequence[float], second: Sequence[float]) -> ABComparison:
    """Compare the values of a metric, one a run, of two groups of runs: their geometric means.

    As compare_runs, with a run in place of a block; here the scatter from run to run is in everything.

    >>> compare_groups("map", [0.30, 0.31, 0.32, 0.33], [0.40, 0.41, 0.42, 0.43]).p
    0.02857142857142857
    """
    if min((*first, *second)) <= 0:
        return ABComparison(metric, statistics.mean(first), statistics.mean(second), None, why_not="a value is 0")
    sides = [[math.log(value) for value in values] for values in (first, second)]
    means = [statistics.mean(side) for side in sides]
    values, centre = (math.exp(means[0]), math.exp(means[1])), means[1] - means[0]
    if min(map(len, sides)) < 2:
        why = "significance cannot be computed from one run each: what differs from run to run is not known"
        return ABComparison(metric, *values, math.exp(centre), why_not=why)
    return _compare(metric, values, centre, sides, (1.0, 1.0))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p values, in their order, corrected for testing all of them: Holm, 1979."""
    adjusted: dict[str, float] = {}
    largest, count = 0.0, len(p_values)
    for rank, name in enumerate(sorted(p_values, key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (count - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def least_p(first: int, second: int) -> float:
    """The smallest p that groups of so many values can have, however far apart they are."""
    ways = math.factorial(first + second) // math.factorial(first) // math.factorial(second)
    return max((2 if first == second else 1) / ways, 1 / (PERMUTATIONS + 1))


def _compare(
    metric: str,
    values: tuple[float, float],
    centre: float,
    sides: Sequence[Sequence[float]],
    widening: Sequence[float],
) -> ABComparison:
    errors = [statistics.stdev(side) / math.sqrt(len(side)) * wide for side, wide in zip(sides, widening)]
    error, ratio = math.hypot(*errors), math.exp(centre)
    p = _permutation_p(sides, widening)
    if error == 0:  # nothing scatters
        return ABComparison(metric, *values, ratio, Interval(ratio, ratio), None, p)
    freedom = error**4 / sum(one**4 / (len(side) - 1) for one, side in zip(errors, sides))  # Welch and Satterthwaite
    reach = t_quantile(max(freedom, min(map(len, sides)) - 1)) * error
    interval = Interval(math.exp(centre - reach), math.exp(centre + reach))
    return ABComparison(metric, *values, ratio, interval, _hedges_g(sides), p)


def _block_logs(samples: RateSamples) -> list[float] | None:
    """The logarithms of the rates of BLOCKS blocks, which differ by one sample in length at most."""
    import numpy as np

    count = len(samples.images)
    if count < MIN_SAMPLES:
        return None
    starts = np.linspace(0, count, min(BLOCKS, count), endpoint=False).astype(int)
    images = np.add.reduceat(samples.images.astype(np.float64), starts)
    time_ns = np.add.reduceat(samples.time_ns.astype(np.float64), starts)
    if images.min() <= 0 or time_ns.min() <= 0:
        return None
    return [float(one) for one in np.log(images / time_ns)]


def _inflation(values: Sequence[float]) -> float:
    """By how much the autocorrelation of neighbouring values inflates the variance of their mean."""
    import numpy as np

    return inflated(1.0, autocorrelation(np.array(values) - statistics.mean(values)))


def _permutation_p(sides: Sequence[Sequence[float]], widening: Sequence[float]) -> float:
    """The share of all permutations of the values between the sides with at least their Welch's t."""
    import numpy as np

    if (len(sides[1]), *sides[1]) < (len(sides[0]), *sides[0]):  # B against A draws the same permutations
        sides, widening = sides[::-1], widening[::-1]
    values, size = np.array([*sides[0], *sides[1]]), len(sides[0])
    found = _welch_t(values[None, :size], values[None, size:], widening)[0]
    ways = math.factorial(len(values)) // math.factorial(size) // math.factorial(len(values) - size)
    if ways <= PERMUTATIONS:
        chosen = np.array(list(itertools.combinations(range(len(values)), size)))
        mask = np.zeros((ways, len(values)), dtype=bool)
        mask[np.arange(ways)[:, None], chosen] = True
        drawn = np.concatenate((chosen, np.nonzero(~mask)[1].reshape(ways, -1)), axis=1)
        known = 0
    else:
        order = seeded().random((PERMUTATIONS, len(values)))
        drawn, known = order.argsort(axis=1), 1  # the values as found are one of the permutations
    shuffled = values[drawn]
    t = _welch_t(shuffled[:, :size], shuffled[:, size:], (1.0, 1.0))
    # Sums in another order differ in their last digits.
    return float((np.count_nonzero(t >= found * (1 - 1e-9)) + known) / (len(t) + known))


def _welch_t(first: np.ndarray, second: np.ndarray, widening: Sequence[float]) -> np.ndarray:
    """The absolute t of each row; 0 if nothing differs, infinite if only the means do."""
    import numpy as np

    apart = np.abs(first.mean(axis=1) - second.mean(axis=1))
    variances = [side.var(axis=1, ddof=1) / side.shape[1] * wide**2 for side, wide in zip((first, second), widening)]
    error = np.sqrt(variances[0] + variances[1])
    # The rounding error of equal values is no difference and no scatter.
    floor = 1e-12 * np.maximum(np.abs(first).max(axis=1), np.abs(second).max(axis=1))
    apart, error = np.where(apart <= floor, 0.0, apart), np.where(error <= floor, 0.0, error)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = apart / error
    return np.where(apart == 0, 0.0, t)


def _hedges_g(sides: Sequence[Sequence[float]]) -> float | None:
    """B less A in pooled standard deviations, corrected for few values; None if nothing scatters."""
    freedom = sum(len(side) - 1 for side in sides)
    pooled = math.sqrt(sum((len(side) - 1) * statistics.variance(side) for side in sides) / freedom)
    if pooled == 0:
        return None
    return (statistics.mean(sides[1]) - statistics.mean(sides[0])) / pooled * (1 - 3 / (4 * freedom - 1))
