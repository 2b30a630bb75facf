"""Two runs, or two groups of runs, of a cell held against each other: how much apart, how surely, by chance or not."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping, Sequence

from verdict.metrics.statistics import CONFIDENCE, MIN_BLOCKS, STRETCHES, Interval, rate_per_s, total

if TYPE_CHECKING:
    import numpy as np

PERMUTATIONS = 4999
"""Drawn at random where there are more ways than that to share the values out; the test's least p is 1 in 5000."""

_SEED = 20171117  # fixed: the same evidence always gives the same p


@dataclass(frozen=True, eq=False)
class Blocks:
    """A rate of one run: images and time in ns of each block of its steps, in the order in which they ran."""

    images: np.ndarray
    time_ns: np.ndarray

    @property
    def rate(self) -> float | None:
        """Images per second over all blocks."""
        return rate_per_s(total(self.images), total(self.time_ns))


@dataclass(frozen=True)
class Contrast:
    """How a metric of B stands to that of A.

    `ratio` is B over A, `interval` its 95 % interval, `effect` Hedges' g on the logarithms, `p` the chance of a
    distance as large or larger if nothing differed; each None where it cannot be told, and `why_not` says why.
    """

    metric: str
    first: float
    second: float
    ratio: float | None
    interval: Interval | None = None
    effect: float | None = None
    p: float | None = None
    why_not: str = ""


def of_two_runs(metric: str, first: Blocks, second: Blocks) -> Contrast:
    """Contrast a rate of two independent runs; the circumstances of the two are taken to be comparable.

    Each run is cut into STRETCHES stretches of neighbouring blocks, as for the interval of one rate: what steps have in
    common with their neighbours stays inside a stretch. All three numbers are of the logarithms of the stretches'
    rates, so that A against B and B against A say the same. The interval is Welch's (1947). `p` is from a
    permutation test of Welch's t, which holds also where the two scatter differently (Janssen, 1997). Where
    neighbouring stretches still resemble each other, with the correlation r, standard errors grow by
    ((1 + r) / (1 - r)) ** 0.5, the deviation of the mean of a first-order autoregression over that of independent
    values. The effect is in deviations of a tenth of a run, whatever a run's length: Hedges, 1981.

    What differs from run to run, and not within one, is in none of it.
    """
    rates = first.rate or 0.0, second.rate or 0.0
    if not all(rates):
        return Contrast(metric, *rates, None, why_not="no time has passed in one of them")
    ratio = rates[1] / rates[0]
    sides = [logs for logs in map(_stretch_logs, (first, second)) if logs is not None]
    if len(sides) < 2:
        return Contrast(metric, *rates, ratio, why_not="one of them has too few steps")
    widening = [math.sqrt((1 + r) / (1 - r)) for r in map(_neighbours_likeness, sides)]
    return _contrast(metric, rates[0], rates[1], math.log(ratio), sides, widening)


def of_two_groups(metric: str, first: Sequence[float], second: Sequence[float]) -> Contrast:
    """Contrast the values of a metric, one a run, of two groups of runs: their geometric means.

    As of_two_runs, with a run in the place of a stretch; here the scatter from run to run is in everything.
    """
    if min((*first, *second)) <= 0:
        return Contrast(metric, statistics.mean(first), statistics.mean(second), None, why_not="a value is 0")
    sides = [[math.log(value) for value in values] for values in (first, second)]
    means = [statistics.mean(side) for side in sides]
    centre = means[1] - means[0]
    if min(map(len, sides)) < 2:
        why = "no significance can be told from one run each: what differs from run to run is not known"
        return Contrast(metric, math.exp(means[0]), math.exp(means[1]), math.exp(centre), why_not=why)
    return _contrast(metric, math.exp(means[0]), math.exp(means[1]), centre, sides, (1.0, 1.0))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p of each question, corrected for asking all of them: Holm, 1979. In the order of `p_values`."""
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


def _contrast(
    metric: str,
    first: float,
    second: float,
    centre: float,
    sides: Sequence[Sequence[float]],
    widening: Sequence[float],
) -> Contrast:
    errors = [statistics.stdev(side) / math.sqrt(len(side)) * wide for side, wide in zip(sides, widening)]
    error = math.hypot(*errors)
    p = _permutation_p(sides, widening)
    if error == 0:  # nothing scatters
        return Contrast(metric, first, second, math.exp(centre), Interval(math.exp(centre), math.exp(centre)), None, p)
    freedom = error**4 / sum(one**4 / (len(side) - 1) for one, side in zip(errors, sides))  # Welch and Satterthwaite
    reach = _t_quantile(max(freedom, min(map(len, sides)) - 1)) * error
    interval = Interval(math.exp(centre - reach), math.exp(centre + reach))
    return Contrast(metric, first, second, math.exp(centre), interval, _hedges_g(sides), p)


def _stretch_logs(blocks: Blocks) -> list[float] | None:
    """The logarithms of the rates of STRETCHES stretches, which differ by one block in length at most."""
    import numpy as np

    count = len(blocks.images)
    if count < MIN_BLOCKS:
        return None
    starts = np.linspace(0, count, min(STRETCHES, count), endpoint=False).astype(int)
    images = np.add.reduceat(blocks.images.astype(np.float64), starts)
    time_ns = np.add.reduceat(blocks.time_ns.astype(np.float64), starts)
    if images.min() <= 0 or time_ns.min() <= 0:
        return None
    return [float(one) for one in np.log(images / time_ns)]


def _neighbours_likeness(values: Sequence[float]) -> float:
    """The correlation of each value with the next, from 0 to 0.7, freed of the bias that taking off the mean brings."""
    mean = statistics.mean(values)
    apart = [value - mean for value in values]
    square = sum(one * one for one in apart) / len(apart)
    if square == 0:
        return 0.0
    product = sum(one * other for one, other in zip(apart, apart[1:])) / (len(apart) - 1)
    return min(max(product / square + 1 / len(values), 0.0), 0.7)


def _permutation_p(sides: Sequence[Sequence[float]], widening: Sequence[float]) -> float:
    """The share of all ways to share the values out that set them as far apart as they are, by Welch's t."""
    import numpy as np

    if (len(sides[1]), *sides[1]) < (len(sides[0]), *sides[0]):  # the same ways are drawn for B against A
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
        order = np.random.Generator(np.random.PCG64(_SEED)).random((PERMUTATIONS, len(values)))
        drawn, known = order.argsort(axis=1), 1  # the way that was found is one of them
    shuffled = values[drawn]
    t = _welch_t(shuffled[:, :size], shuffled[:, size:], (1.0, 1.0))
    # Sums in another order differ in their last digits.
    return float((np.count_nonzero(t >= found * (1 - 1e-9)) + known) / (len(t) + known))


def _welch_t(first: np.ndarray, second: np.ndarray, widening: Sequence[float]) -> np.ndarray:
    """The absolute t of each row; 0 where nothing differs, infinite where only the means do."""
    import numpy as np

    apart = np.abs(first.mean(axis=1) - second.mean(axis=1))
    variances = [side.var(axis=1, ddof=1) / side.shape[1] * wide**2 for side, wide in zip((first, second), widening)]
    error = np.sqrt(variances[0] + variances[1])
    # What is left of equal values after subtracting is no distance and no scatter.
    floor = 1e-12 * np.maximum(np.abs(first).max(axis=1), np.abs(second).max(axis=1))
    apart, error = np.where(apart <= floor, 0.0, apart), np.where(error <= floor, 0.0, error)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = apart / error
    return np.where(apart == 0, 0.0, t)


def _hedges_g(sides: Sequence[Sequence[float]]) -> float | None:
    """B less A in pooled deviations, corrected for few values; None where nothing scatters."""
    freedom = sum(len(side) - 1 for side in sides)
    pooled = math.sqrt(sum((len(side) - 1) * statistics.variance(side) for side in sides) / freedom)
    if pooled == 0:
        return None
    return (statistics.mean(sides[1]) - statistics.mean(sides[0])) / pooled * (1 - 3 / (4 * freedom - 1))


def _t_quantile(freedom: float) -> float:
    """The quantile of Student's t that CONFIDENCE leaves a tail above and below of; Hill, Algorithm 396, 1970.

    For few degrees of freedom, where the expansion about the normal is no good; from 1 on, also between whole numbers.
    """
    tails = 1 - CONFIDENCE
    if freedom <= 1:
        return 1 / math.tan(tails * math.pi / 2)
    if freedom == 2:
        return math.sqrt(2 / (tails * (2 - tails)) - 2)
    a = 1 / (freedom - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * freedom
    y = (d * tails) ** (2 / freedom)
    if y > 0.05 + a:
        x = statistics.NormalDist().inv_cdf(tails / 2)
        c += 0.3 * (freedom - 4.5) * (x + 0.6) if freedom < 5 else 0
        c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
        y = (((((0.4 * x**2 + 6.3) * x**2 + 36) * x**2 + 94.5) / c - x**2 - 3) / b + 1) * x
        y = math.expm1(a * y**2)
    else:
        inner = 1 / (((freedom + 6) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2) * 3)
        y = ((inner + 0.5 / (freedom + 4)) * y - 1) * (freedom + 1) / (freedom + 2) + 1 / y
    return math.sqrt(freedom * y)
