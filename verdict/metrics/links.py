"""What the links probe measured: times by size, rates of pairs, latency and bandwidth by a line, and bus_bandwidth."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Iterator, Sequence

from evidence.bundle import Evidence
from evidence.events.links import ALL_REDUCE, CollectiveResult, bus_factor, shown_bytes
from evidence.run_file import PROBES, TRAINING
from evidence.verdict import Interval
from expected import FURTHER_METRICS
from verdict.metrics.measurement import Measurement, metric
from verdict.metrics.statistics import t_quantile

FULL = "full"
_LEAST_SIZES = 3  # a line through two has no interval


@dataclass(frozen=True)
class Timed:
    """The time of one call of a collective at a size, on the rank where it took longest, in ns, with its interval."""

    case: CollectiveResult
    time_ns: float
    interval: Interval
    ranks: int
    samples: int

    @property
    def gb_per_s(self) -> float:
        """Bus bandwidth as nccl-tests defines it; bytes a ns are GB/s."""
        return self.case.bytes * bus_factor(self.case.collective, self.ranks) / self.time_ns

    @property
    def words(self) -> str:
        """As in "53.36 MiB 4.18 ms (23.5 GB/s)"."""
        return f"{shown_bytes(self.case.bytes)} {self.time_ns / 1e6:.3g} ms ({self.gb_per_s:.3g} GB/s)"


@dataclass(frozen=True)
class PairRate:
    """What two ranks reached one way in a send and receive, in GB/s, with its interval."""

    ranks: tuple[int, int]
    between: str
    bytes: int
    gb_per_s: float
    interval: Interval


@dataclass(frozen=True)
class Line:
    """A line through time over size: latency in us, and the bus bandwidth in GB/s that large sizes approach."""

    latency_us: float
    latency: Interval
    gb_per_s: float
    bandwidth: Interval
    sizes: int


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the 95 % interval of the mean by Student's t; of one value, infinite."""
    if len(values) < 2:
        return Interval(-math.inf, math.inf)
    reach = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.mean(values)
    return Interval(mean - reach, mean + reach)


def over(amount: float, time_ns: Interval) -> Interval:
    """Return the interval of an amount over a time, which may reach down to 0."""
    return Interval(amount / time_ns.high, amount / time_ns.low if time_ns.low > 0 else math.inf)


def timed(evidence: Evidence, collective: str) -> list[Timed]:
    """Return what all ranks timed of a collective, by size; a size that not all of them timed is left out."""
    found: dict[tuple[int, bool], list[CollectiveResult]] = {}
    for rank in evidence.ranks:
        for one in rank.collectives:
            if one.collective == collective and min(one.times_ns, default=0) > 0 and one.bytes > 0:
                found.setdefault((one.bytes, one.bucket), []).append(one)
    ranks = len(evidence.ranks)
    return sorted(
        (_timed(alike, ranks) for alike in found.values() if len(alike) == ranks), key=lambda one: one.case.bytes
    )


def _timed(alike: Sequence[CollectiveResult], ranks: int) -> Timed:
    # A sample ends when the slowest rank has ended.
    slowest = [max(times) for times in zip(*(one.times_ns for one in alike))]
    return Timed(alike[0], statistics.mean(slowest), mean_interval(slowest), ranks, len(slowest))


def pair_rates(evidence: Evidence) -> Iterator[PairRate]:
    """Yield the rate of every pair that was measured."""
    for rank in evidence.ranks:
        for pair in rank.pairs:
            if not pair.times_ns or min(pair.times_ns) <= 0:
                continue
            rate, interval = pair.bytes / statistics.mean(pair.times_ns), over(pair.bytes, mean_interval(pair.times_ns))
            yield PairRate((rank.rank, pair.peer), pair.between, pair.bytes, rate, interval)


def line_through(points: Sequence[Timed]) -> Line | None:
    """Return the line through time over size, by least squares of the relative errors; None of fewer than 3 sizes.

    Relative, as the sizes span nine decades, and the large ones would decide alone.
    """
    if len(points) < _LEAST_SIZES:
        return None
    weights = [1 / one.time_ns**2 for one in points]
    sizes, times = [float(one.case.bytes) for one in points], [one.time_ns for one in points]
    total = sum(weights)
    mean_x = sum(w * x for w, x in zip(weights, sizes)) / total
    mean_y = sum(w * y for w, y in zip(weights, times)) / total
    spread = sum(w * (x - mean_x) ** 2 for w, x in zip(weights, sizes))
    if not spread:
        return None
    slope = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in zip(weights, sizes, times)) / spread
    start = mean_y - slope * mean_x
    errors = sum(w * (y - start - slope * x) ** 2 for w, x, y in zip(weights, sizes, times))
    variance = errors / (len(points) - 2)
    quantile = t_quantile(len(points) - 2)
    slope_reach = quantile * math.sqrt(variance / spread)
    start_reach = quantile * math.sqrt(variance * (1 / total + mean_x**2 / spread))
    factor = bus_factor(points[0].case.collective, points[0].ranks)

    def rate(ns_a_byte: float) -> float:
        return factor / ns_a_byte if ns_a_byte > 0 else math.inf

    return Line(
        start / 1e3,
        Interval((start - start_reach) / 1e3, (start + start_reach) / 1e3),
        rate(slope),
        Interval(rate(slope + slope_reach), rate(slope - slope_reach)),
        len(points),
    )


def shortened(evidence: Evidence) -> str:
    """Return why a run has no rates that a baseline could hold; "" if it has."""
    asked = "" if evidence.run is None else evidence.run.links
    if asked != FULL:
        return f"the run was made with --links={asked or 'none'}; only full has the sizes of published bandwidths"
    return ""


@metric("bus_bandwidth", *TRAINING, PROBES, of="model", without=shortened)
def bus_bandwidth(evidence: Evidence) -> Measurement | None:
    """Bus bandwidth of the all-reduce at the largest size, as nccl-tests defines it, in GB/s."""
    points = timed(evidence, ALL_REDUCE)
    if not points:
        return None
    largest = points[-1]
    interval = over(largest.gb_per_s * largest.time_ns, largest.interval)
    method = f"all-reduce of {shown_bytes(largest.case.bytes)}, bus bandwidth of the slowest rank"
    unit = FURTHER_METRICS["bus_bandwidth"].unit
    known = interval if math.isfinite(interval.high) else None
    return Measurement("bus_bandwidth", largest.gb_per_s, unit, known, method, "rank files", largest.samples)
