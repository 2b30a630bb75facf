"""Compares devices: scaling efficiency of a larger topology, straggler ratio of ranks, siblings in own runs."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Mapping, Sequence

from evidence.verdict import Interval, MetricVerdict, Verdict
from expected import METRICS, Cell, default_bounds
from verdict.bounds import against_bounds, steps_advice
from verdict.metrics.measurement import Measurement
from verdict.metrics.statistics import MIN_STEPS
from verdict.metrics.stragglers import STRAGGLER_TOLERANCE as TOLERANCE
from verdict.metrics.stragglers import Straggler
from verdict.wording import counted, figure

EFFICIENCY, STRAGGLER_RATIO, SIBLINGS = "efficiency", "skew", "siblings"
MIN_SIBLINGS = 3
"""Of two devices that differ it is not known whether one is slow or the other fast."""

_RATES = {"host": "p_core_host", "device": "p_core"}


@dataclass(frozen=True)
class TopologyRun:
    """A run of a topology: `measured` has its numbers by metric, p_core_host beside them.

    `p_core` is the verdict on that metric, pass if it is waived; None if it was not judged.
    `broken` says why its evidence cannot be trusted, `missing` why it has no p_core to compare; "" if neither.
    """

    cell: Cell
    simulated: bool
    measured: Mapping[str, Measurement]
    p_core: Verdict | None = None
    broken: str = ""
    missing: str = ""


@dataclass(frozen=True)
class DeviceRun:
    """A device's or host's own run: its p_core in images/s, or why that cannot be trusted (`broken`).

    `place` is where, as in "device 3" or "host gpu-07"; `serial` as in ComparedDevice, "" if it is not known.
    """

    place: str
    serial: str
    p_core: Measurement | None
    broken: str = ""

    @property
    def usable(self) -> Measurement | None:
        """The p_core to compare; None if there is none that can be trusted."""
        return None if self.broken else self.p_core

    def __str__(self) -> str:
        return self.place + (f" ({self.serial})" if self.serial else "")


@dataclass(frozen=True)
class DeviceVerdict:
    """A device or host among its siblings: `share` is its p_core over the median of the others', None without one."""

    run: DeviceRun
    share: float | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class SiblingsVerdict:
    """The judgement of all siblings: `cards` in the order given, `reason` names those that decided `verdict`."""

    cards: tuple[DeviceVerdict, ...]
    verdict: Verdict
    reason: str

    @property
    def worst_first(self) -> tuple[DeviceVerdict, ...]:
        """The same by their verdicts, then by the share: those to look at come first."""
        order = list(Verdict)
        return tuple(sorted(self.cards, key=lambda one: (order.index(one.verdict), one.share or 0.0)))

    @property
    def metric(self) -> MetricVerdict:
        """The verdict as one on a metric: the lowest share."""
        lowest = min((card.share for card in self.cards if card.share is not None), default=None)
        method = "lowest p_core over the median of the others', each in a run of its own"
        low = 1 - TOLERANCE
        return MetricVerdict(
            SIBLINGS, lowest, "", None, None, low, None, "higher", method, "", self.verdict, self.reason
        )


def judge_efficiency(small: TopologyRun, big: TopologyRun) -> MetricVerdict:
    """The verdict on p_core per device of the larger topology over that of the smaller.

    efficiency = (p_core_big / ranks_big) / (p_core_small / ranks_small). Expected is the same of the numbers that are
    published or accepted, with p_core's default bound. Only recorded without both numbers, or if the cells differ in
    more than their topology. A ratio below the bound fails only with a metric: where p_core of both topologies passes,
    a better number of the smaller one has made it worse, so it is recorded, with words.
    """
    clock, unlike = _clock(small.cell, big.cell), _unlike(small.cell, big.cell)
    expected = None if clock is None or unlike else _expected(small.cell, big.cell)
    first, second = (run.measured.get(_RATES[clock or "device"]) for run in (small, big))
    value, interval, within = None, None, None
    if first is not None and second is not None and first.value > 0:
        value = _per_device(big.cell, second.value) / _per_device(small.cell, first.value)
        interval = _ratio_interval((second, first), (second.interval, first.interval), value)
        within = _ratio_interval((second, first), (second.within, first.within), value)
    low = None if expected is None else default_bounds(METRICS["p_core"], expected)[0]
    verdict, reason = Verdict.INVALID, _broken(small, big)
    if not reason:
        verdict, reason = Verdict.MISSING, big.missing or small.missing
    if not reason and value is None:
        without = [run.cell.id for run, one in ((small, first), (big, second)) if one is None]
        verdict, reason = (
            Verdict.MISSING,
            f"efficiency is not measured: no p_core of {' and '.join(without) or small.cell.id}",
        )
    if not reason and value is not None:
        steps = max(one.n for one in (first, second) if one is not None)
        verdict, reason = _compare(value, interval, within, expected, low, steps)
        if verdict == Verdict.RECORDED:
            reason += f": {unlike or _unpublished(small.cell, big.cell)}"
        verdict, reason = _with_the_metrics(verdict, reason, (small.p_core, big.p_core))
    known = [run.cell.expectations["p_core"] for run in (small, big)]
    return MetricVerdict(
        metric=EFFICIENCY,
        measured=value,
        unit="",
        interval=interval,
        expected=expected,
        low=low,
        high=None,
        better="higher",
        method="" if value is None else _method(small, big, _RATES[clock or "device"], interval),
        source="; ".join(dict.fromkeys(one.source for one in known if one.source)),
        verdict=verdict,
        reason=reason,
    )


def judge_stragglers(
    slowest: Straggler | None, interval: Interval | None = None, *, on_host: bool, broken: str = ""
) -> MetricVerdict:
    """The verdict on the straggler ratio: forward time of the slowest rank over the median of the others'.

    `slowest` is None if no rank can be compared, `interval` that of its ratio (`pace_interval`); without one the ratio
    is taken as exact. With `on_host` it is only recorded, as ranks share the host's cores. `broken` says why the
    evidence cannot be trusted.
    """
    value, high = None if slowest is None else 1 + slowest.slower, 1 + TOLERANCE
    verdict, _ = against_bounds(interval or Interval(value or 0.0, value or 0.0), None, high)
    if broken:
        verdict, reason = Verdict.INVALID, broken
    elif slowest is None:
        verdict, reason = (
            Verdict.MISSING,
            "skew is not measured: no rank's forward passes can be held against the others'",
        )
    elif on_host:
        verdict, reason = (
            Verdict.RECORDED,
            f"skew {1 + slowest.slower:.3f}, {slowest.place}: the ranks share the host's cores",
        )
    elif verdict is Verdict.FAIL:
        reason = f"{slowest}, expected at most {TOLERANCE:.0%}"
    else:
        reason = f"the slowest, {slowest.place}, takes {1 + slowest.slower:.3f} of its siblings' time"
        if verdict is Verdict.INCONCLUSIVE and interval is not None:
            reason += (
                f": its interval, {interval.low:.3f} to {interval.high:.3f}, straddles {high:.3f}; sound devices may "
                "differ as much, which more steps do not change: compare them with --each-card, or waive skew"
            )
    method = "time of the slowest rank's forward passes, an image, over the median of the other ranks'"
    return MetricVerdict(STRAGGLER_RATIO, value, "", interval, None, None, high, "lower", method, "", verdict, reason)


def judge_siblings(runs: Sequence[DeviceRun]) -> SiblingsVerdict:
    """Judge which devices' or hosts' p_core lies more than TOLERANCE below the median of the others', with confidence.

    The median of an even number is the lower of the two in the middle, so that none is slow beside one fast device. A
    device fails if its whole interval lies below the bound, and is inconclusive if the interval straddles it or there
    is none. The bound is taken as exact: a median of several devices varies less than any one of them. Devices without
    a number that can be trusted are left out, and make all of it invalid unless another one is proven slow; fewer than
    MIN_SIBLINGS in all are only recorded.

    >>> judge_siblings([DeviceRun(f"device {at}", "", one) for at, one in enumerate(p_cores)]).reason  # doctest: +SKIP
    "device 2 does 17.40 images/s, 87.0% of its siblings' median 20.00: slower by more than 5%"
    """
    usable = [(run, run.usable) for run in runs]
    cards = tuple(_judge_sibling(run, [p for other, p in usable if p is not None and other is not run]) for run in runs)
    for verdict in (Verdict.FAIL, Verdict.INVALID, Verdict.INCONCLUSIVE):
        decisive = [card.reason for card in cards if card.verdict == verdict]
        if decisive:
            return SiblingsVerdict(cards, verdict, "; ".join(decisive))
    if any(card.verdict == Verdict.RECORDED for card in cards) or not cards:
        return SiblingsVerdict(
            cards,
            Verdict.RECORDED,
            f"found {counted(len(cards), 'run')} of siblings, expected {MIN_SIBLINGS} or more: fewer have no median "
            "to be held against",
        )
    slowest = min(cards, key=lambda card: card.share or 0.0)
    return SiblingsVerdict(cards, Verdict.PASS, f"none is slower than its siblings; the slowest, {slowest.reason}")


def ratio_per_device(small: TopologyRun, big: TopologyRun, metric: str) -> float | None:
    """A rate per device on the larger topology over that on the smaller; None if one was not measured."""
    first, second = small.measured.get(metric), big.measured.get(metric)
    if first is None or second is None or first.value <= 0:
        return None
    return _per_device(big.cell, second.value) / _per_device(small.cell, first.value)


def _compare(
    value: float,
    interval: Interval | None,
    within: Interval | None,
    expected: float | None,
    low: float | None,
    steps: int,
) -> tuple[Verdict, str]:
    shown = f"efficiency {figure(value)}"
    if expected is None or low is None:
        return Verdict.RECORDED, shown
    limit = f"{figure(low)} ({low / expected:.4g} x {figure(expected)}, what the expected p_core come to)"
    if interval is None:
        return (
            Verdict.INCONCLUSIVE,
            f"{shown} has no confidence interval, as a run has too few steps for one; bound {limit}",
        )
    verdict, _ = against_bounds(interval, low, None)
    if verdict is Verdict.INCONCLUSIVE:
        span = f"{figure(interval.low)} to {figure(interval.high)}"
        more = steps_advice(value, interval, (low,), steps, " of each", within)
        return verdict, f"{shown}: its interval, {span}, straddles {limit}; {more}"
    return verdict, f"{shown} is {'below' if verdict is Verdict.FAIL else 'at least'} {limit}"


def _with_the_metrics(verdict: Verdict, reason: str, p_cores: Sequence[Verdict | None]) -> tuple[Verdict, str]:
    """Return the verdict on an efficiency beside those on the p_core that it is the ratio of."""
    if verdict not in (Verdict.FAIL, Verdict.INCONCLUSIVE) or Verdict.FAIL in p_cores or None in p_cores:
        return verdict, reason
    if all(one is Verdict.PASS for one in p_cores):
        return Verdict.RECORDED, f"{reason}; recorded only, as p_core passes at both topologies"
    return Verdict.INCONCLUSIVE, reason


def _ratio_interval(
    of: tuple[Measurement, Measurement], intervals: tuple[Interval | None, Interval | None], value: float
) -> Interval | None:
    """The interval of a ratio of two independent estimates, from an interval of each; None if one has none.

    On a logarithmic scale, where the distances from the estimate to each end add up as squares (method of variance
    estimates recovery): Zou and Donner, Construction of confidence limits about effect measures, 2008.
    """
    (over, under), (first, second) = of, intervals
    if first is None or second is None or min(first.low, first.high, second.low, second.high) <= 0:
        return None
    down = math.hypot(math.log(over.value / first.low), math.log(second.high / under.value))
    up = math.hypot(math.log(first.high / over.value), math.log(under.value / second.low))
    return Interval(value * math.exp(-down), value * math.exp(up)).around(value)


def _per_device(cell: Cell, rate: float) -> float:
    return rate / cell.topology.ranks


def _clock(small: Cell, big: Cell) -> str | None:
    """The clock that both cells' numbers were read with; None if there are not two, or with different clocks."""
    clocks = [_read_with(cell) for cell in (small, big)]
    return clocks[0] if clocks[0] == clocks[1] else None


def _read_with(cell: Cell) -> str | None:
    known = cell.expectations["p_core"]
    return (known.clock or cell.timing) if known.has_number else None


def _expected(small: Cell, big: Cell) -> float | None:
    first, second = (cell.expectations["p_core"].value for cell in (small, big))
    return None if not first or second is None else _per_device(big, second) / _per_device(small, first)


def _unlike(small: Cell, big: Cell) -> str:
    """Why the two do different work on each device; "" if only the topology differs."""
    if small.batch_size != big.batch_size:
        batches = " and ".join(f"{cell.batch_size} at {cell.topology}" for cell in (small, big))
        return f"not comparable, as a device's batch is {batches}"
    first, second = vars(small.recipe), vars(big.recipe)
    computed = ("model", "num_classes", "tf32", "deterministic", "cudnn_benchmark", "lowered")
    differing = [name for name in computed if first[name] != second[name]]
    return f"not comparable, as the recipes differ in {', '.join(differing)}" if differing else ""


def _unpublished(small: Cell, big: Cell) -> str:
    without = [str(cell.topology) for cell in (small, big) if not cell.expectations["p_core"].has_number]
    if without:
        return f"no p_core is published or accepted at {' and '.join(without)}"
    clocks = " and ".join(f"a {_read_with(cell)} clock at {cell.topology}" for cell in (small, big))
    return f"not comparable, as the expected p_core was read with {clocks}"


def _broken(small: TopologyRun, big: TopologyRun) -> str:
    broken = [f"{run.cell.id}: {run.broken}" for run in (small, big) if run.broken]
    if not broken and small.simulated != big.simulated:
        simulated, real = (small, big) if small.simulated else (big, small)
        broken = [f"{simulated.cell.id} was simulated and {real.cell.id} was not"]
    return "; ".join(broken)


def _method(small: TopologyRun, big: TopologyRun, rate: str, interval: Interval | None) -> str:
    words = f"{rate} a device at {big.cell.topology} over that at {small.cell.topology}"
    return words + ("" if interval is None else "; interval of a ratio of independent estimates")


def _judge_sibling(run: DeviceRun, others: Sequence[Measurement]) -> DeviceVerdict:
    own = run.usable
    if own is None:
        why = run.broken or "found no p_core, expected one"
        return DeviceVerdict(run, None, Verdict.INVALID, f"{run}: its run cannot be compared: {why}")
    median = statistics.median_low([other.value for other in others]) if others else 0.0
    if len(others) + 1 < MIN_SIBLINGS or median <= 0:
        return DeviceVerdict(run, None, Verdict.RECORDED, f"{run}: {len(others)} siblings to be held against")
    share, bound = own.value / median, median * (1 - TOLERANCE)
    pace = f"{run} does {figure(own.value)} images/s, {share:.1%} of its siblings' median {figure(median)}"
    if own.interval is None:
        least = max(1, (own.least or MIN_STEPS) - own.n)
        reason = f"{pace}; from {own.n} steps there is no confidence interval, at least {least} more are needed"
        return DeviceVerdict(run, share, Verdict.INCONCLUSIVE, reason)
    verdict, _ = against_bounds(own.interval, bound, None)
    if verdict is Verdict.FAIL:
        pace += f": slower by more than {TOLERANCE:.0%}"
    elif verdict is Verdict.INCONCLUSIVE:
        span = f"{figure(own.interval.low)} to {figure(own.interval.high)}"
        more = steps_advice(own.value, own.interval, (bound,), own.n, within=own.within)
        pace += f"; its interval, {span}, straddles {figure(bound)} ({TOLERANCE:.0%} below them); {more}"
    return DeviceVerdict(run, share, verdict, pace)
