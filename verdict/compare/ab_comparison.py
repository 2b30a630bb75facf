"""A/B comparison of two runs, or of two groups of runs, of a cell: ratio, interval, significance, effect and power."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Sequence

from evidence.verdict import Interval
from expected import ALL_METRICS
from verdict.metrics.statistics import (
    BETWEEN_RUNS,
    BLOCKS,
    CONFIDENCE,
    MIN_SAMPLES,
    autocorrelation,
    inflated,
    t_beyond,
    t_quantile,
)
from verdict.metrics.throughput import RateSamples

POWER = 0.8
"""The probability with which a difference of the size `detectable` is shown."""

_MOST_FREEDOM = 1000.0  # from which on Student's t is normal


@dataclass(frozen=True)
class ABComparison:
    """How a metric of B compares with that of A, as Welch's t-test (1947) of the logarithms has it.

    `ratio` is B over A, `error` the standard error of its logarithm with `freedom` degrees of freedom, `effect` Hedges'
    g; each None if it is not known, and `why_not` says why. Interval, p and words are all of the same test, so that a
    difference is shown just where the interval excludes 1.

    `tests` is the number of metrics that are compared at once: each is held to 1/`tests` of the level (Bonferroni), so
    that all of them together raise a false alarm in 5 % of comparisons at most.
    """

    metric: str
    first: float
    second: float
    ratio: float | None
    error: float | None = None
    freedom: float = 1.0
    effect: float | None = None
    why_not: str = ""

    def interval(self, tests: int = 1) -> Interval | None:
        """The ratio's interval, at 95 % for all `tests` together; None if it is not known.

        >>> compare_groups("map", [0.30, 0.31, 0.32, 0.33], [0.40, 0.41, 0.42, 0.43]).interval()
        Interval(low=1.23..., high=1.40...)
        """
        if self.error is None or self.ratio is None:
            return None
        reach = math.exp(self._critical(tests) * self.error)
        return Interval(self.ratio / reach, self.ratio * reach)

    def p(self, tests: int = 1) -> float | None:
        """The probability of as large a difference in any of `tests` metrics if A and B do not differ."""
        if self.error is None or self.ratio is None:
            return None
        apart = abs(math.log(self.ratio))
        if self.error == 0:
            return 1.0 if apart == 0 else 0.0
        return min(1.0, tests * t_beyond(apart / self.error, self.freedom))

    def differs(self, tests: int = 1) -> bool:
        """Whether a difference is shown: the interval excludes 1."""
        found = self.interval(tests)
        return found is not None and not found.low <= 1 <= found.high

    def answer(self, tests: int = 1) -> str:
        """What B is shown to be: "worse" or "better", "same" if neither is shown; "unknown" without an interval."""
        if self.error is None or self.ratio is None:
            return "unknown"
        if not self.differs(tests):
            return "same"
        return "better" if (self.ratio > 1) == (ALL_METRICS[self.metric].better == "higher") else "worse"

    def detectable(self, tests: int = 1) -> float | None:
        """The relative difference that is shown with the probability POWER, if the values scatter as these do.

        An approximation (van Belle, Statistical Rules of Thumb, 2008, chapter 2) with quantiles of Student's t.
        """
        if self.error is None:
            return None
        return math.expm1((self._critical(tests) + t_quantile(self.freedom, 2 * POWER - 1)) * self.error)

    def _critical(self, tests: int) -> float:
        return t_quantile(self.freedom, 1 - (1 - CONFIDENCE) / max(tests, 1))


def tests_of(found: Sequence[ABComparison]) -> int:
    """Return how many metrics are tested at once."""
    return sum(one.error is not None for one in found)


def compare_runs(metric: str, first: RateSamples, second: RateSamples, between: float = BETWEEN_RUNS) -> ABComparison:
    """Compare a rate of two independent runs that were made under comparable circumstances.

    Each run is cut into BLOCKS blocks of neighbouring samples, as for the interval of one rate, so that what steps have
    in common with their neighbours stays within a block. All numbers are of the logarithms of the blocks' rates, so
    that A against B and B against A give the same. Standard errors are inflated by the autocorrelation of the blocks.
    The effect is in deviations of a tenth of a run, whatever its length: Hedges, 1981.

    Two runs cannot show by how much a rate differs from run to run: `between` is its standard deviation, relative, as
    assumed for the interval of one rate. The steps alone would call almost any two runs different.
    """
    rates = first.rate or 0.0, second.rate or 0.0
    if not all(rates):
        return ABComparison(metric, *rates, None, why_not="no time has passed in one of them")
    ratio = rates[1] / rates[0]
    sides = [logs for logs in map(_block_logs, (first, second)) if logs is not None]
    if len(sides) < 2:
        return ABComparison(metric, *rates, ratio, why_not="one of them has too few steps")
    return _compare(metric, rates, ratio, sides, [math.sqrt(_inflation(side)) for side in sides], between)


def compare_groups(metric: str, first: Sequence[float], second: Sequence[float]) -> ABComparison:
    """Compare the values of a metric, one a run, of two groups of runs: their geometric means.

    As compare_runs, with a run in place of a block; here the scatter from run to run is in everything.

    >>> compare_groups("map", [0.30, 0.31, 0.32, 0.33], [0.40, 0.41, 0.42, 0.43]).differs()
    True
    """
    if min((*first, *second)) <= 0:
        return ABComparison(metric, statistics.mean(first), statistics.mean(second), None, why_not="a value is 0")
    sides = [[math.log(value) for value in values] for values in (first, second)]
    values = math.exp(statistics.mean(sides[0])), math.exp(statistics.mean(sides[1]))
    ratio = values[1] / values[0]
    if min(map(len, sides)) < 2:
        why = "significance cannot be computed from one run each: what differs from run to run is not known"
        return ABComparison(metric, *values, ratio, why_not=why)
    return _compare(metric, values, ratio, sides, (1.0, 1.0))


def _compare(
    metric: str,
    values: tuple[float, float],
    ratio: float,
    sides: Sequence[Sequence[float]],
    widening: Sequence[float],
    between: float = 0.0,
) -> ABComparison:
    errors = [_scatter(side) / math.sqrt(len(side)) * wide for side, wide in zip(sides, widening)]
    error = math.hypot(*errors, between, between)
    if error == 0:
        # Nothing scatters: the rounding error of equal values is no difference.
        return ABComparison(metric, *values, 1.0 if math.isclose(ratio, 1, rel_tol=1e-12) else ratio, 0.0)
    # Welch and Satterthwaite; what is assumed has any number of degrees of freedom.
    known = sum(one**4 / (len(side) - 1) for one, side in zip(errors, sides))
    freedom = max(min(map(len, sides)) - 1, min(error**4 / known, _MOST_FREEDOM) if known else _MOST_FREEDOM)
    return ABComparison(metric, *values, ratio, error, freedom, _hedges_g(sides))


def _scatter(values: Sequence[float]) -> float:
    """The standard deviation; 0 where that is only the rounding error of equal values."""
    deviation = statistics.stdev(values)
    return 0.0 if deviation <= 1e-12 * max(1.0, max(map(abs, values))) else deviation


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


def _hedges_g(sides: Sequence[Sequence[float]]) -> float | None:
    """B less A in pooled standard deviations, corrected for few values; None if nothing scatters."""
    freedom = sum(len(side) - 1 for side in sides)
    pooled = math.sqrt(sum((len(side) - 1) * statistics.variance(side) for side in sides) / freedom)
    if pooled == 0:
        return None
    return (statistics.mean(sides[1]) - statistics.mean(sides[0])) / pooled * (1 - 3 / (4 * freedom - 1))
