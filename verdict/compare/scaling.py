"""How much of each card's speed is left when cards work together: efficiency of a larger topology, skew within one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Mapping

from evidence.verdict import Interval, MetricVerdict, Verdict
from expected import METRICS, Cell, default_bounds
from verdict.judge import FAIL, INCONCLUSIVE, INVALID, MISSING, PASS, RECORDED, against_bounds, steps_advice
from verdict.metrics.measurement import Measurement
from verdict.metrics.stragglers import TOLERANCE, Straggler
from verdict.wording import figure

EFFICIENCY, SKEW = "efficiency", "skew"
_HOST, _DEVICE = "host", "device"
_RATES = {_HOST: "p_core_host", _DEVICE: "p_core"}


@dataclass(frozen=True)
class TopologyRun:
    """The run of a cell as far as scaling is concerned.

    `measured` has its numbers by metric, p_core_host beside them. `broken` says why its evidence cannot be trusted,
    `missing` why it has no p_core to be held against a number; "" where it is as it should be.
    """

    cell: Cell
    simulated: bool
    measured: Mapping[str, Measurement]
    broken: str = ""
    missing: str = ""


def judge_efficiency(small: TopologyRun, big: TopologyRun) -> MetricVerdict:
    """The verdict on p_core a card of the larger topology over that of the smaller.

    efficiency = (p_core_big / ranks_big) / (p_core_small / ranks_small), expected is the same of the numbers that are
    published or accepted, and the bound is p_core's default one of that. Without both numbers, or where the cells
    differ in more than their topology, it is only recorded.
    """
    clock, unlike = _clock(small.cell, big.cell), _unlike(small.cell, big.cell)
    expected = None if clock is None or unlike else _expected(small.cell, big.cell)
    first, second = (run.measured.get(_RATES[clock or _DEVICE]) for run in (small, big))
    value, interval = None, None
    if first is not None and second is not None and first.value > 0:
        value = _a_card(big.cell, second.value) / _a_card(small.cell, first.value)
        interval = _ratio_interval(second, first, value)
    low = None if expected is None else default_bounds(METRICS["p_core"], expected)[0]
    verdict, reason = INVALID, _broken(small, big)
    if not reason:
        verdict, reason = MISSING, big.missing or small.missing
    if not reason and value is None:
        without = [run.cell.id for run, one in ((small, first), (big, second)) if one is None]
        verdict, reason = MISSING, f"efficiency is not measured: no p_core of {' and '.join(without) or small.cell.id}"
    if not reason and value is not None:
        steps = max(one.n for one in (first, second) if one is not None)
        verdict, reason = _compare(value, interval, expected, low, steps)
        if verdict == RECORDED:
            reason += f": {unlike or _unpublished(small.cell, big.cell)}"
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
        method="" if value is None else _method(small, big, _RATES[clock or _DEVICE], interval),
        source="; ".join(dict.fromkeys(one.source for one in known if one.source)),
        verdict=verdict,
        reason=reason,
    )


def judge_skew(slowest: Straggler | None, *, on_host: bool, broken: str = "") -> MetricVerdict:
    """The verdict on the forward passes of the slowest rank over the median of the others': fail where it is slow.

    `slowest` is None where no rank can be told from the others. With `on_host` it is only recorded: ranks that share
    the cores of one machine differ by what else that does. `broken` says why the evidence cannot be trusted.
    """
    value, high = None if slowest is None else 1 + slowest.slower, 1 + TOLERANCE
    if broken:
        verdict, reason = INVALID, broken
    elif slowest is None:
        verdict, reason = MISSING, "skew is not measured: no rank's forward passes can be held against the others'"
    elif on_host:
        verdict, reason = RECORDED, f"skew {1 + slowest.slower:.3f}, {slowest.place}: the ranks share the host's cores"
    elif slowest.slower > TOLERANCE:
        verdict, reason = FAIL, f"{slowest}, expected at most {TOLERANCE:.0%}"
    else:
        verdict, reason = PASS, f"the slowest, {slowest.place}, takes {1 + slowest.slower:.3f} of its siblings' time"
    method = "time of the slowest rank's forward passes, an image, over the median of the other ranks'"
    return MetricVerdict(SKEW, value, "", None, None, None, high, "lower", method, "", verdict, reason)


def ratio_a_card(small: TopologyRun, big: TopologyRun, metric: str) -> float | None:
    """A rate's value a card on the larger topology over that on the smaller; None where one was not measured."""
    first, second = small.measured.get(metric), big.measured.get(metric)
    if first is None or second is None or first.value <= 0:
        return None
    return _a_card(big.cell, second.value) / _a_card(small.cell, first.value)


def _compare(
    value: float, interval: Interval | None, expected: float | None, low: float | None, steps: int
) -> tuple[Verdict, str]:
    shown = f"efficiency {figure(value)}"
    if expected is None or low is None:
        return RECORDED, shown
    limit = f"{figure(low)} ({low / expected:.4g} x {figure(expected)}, what the expected p_core come to)"
    if interval is None:
        return INCONCLUSIVE, f"{shown} has no confidence interval, as a run has too few steps for one; bound {limit}"
    verdict, _ = against_bounds(interval, low, None)
    if verdict is INCONCLUSIVE:
        span = f"{figure(interval.low)} to {figure(interval.high)}"
        more = steps_advice(value, interval, (low,), steps, " of each")
        return verdict, f"{shown}: its interval, {span}, straddles {limit}; {more}"
    return verdict, f"{shown} is {'below' if verdict is FAIL else 'at least'} {limit}"


def _ratio_interval(over: Measurement, under: Measurement, value: float) -> Interval | None:
    """The interval of a ratio of two independent estimates, from the interval of each; None where one has none.

    On a logarithmic scale, where the distances from the estimate to each end add up as squares (method of variance
    estimates recovery): Zou and Donner, Construction of confidence limits about effect measures, 2008.
    """
    if over.interval is None or under.interval is None:
        return None
    ends = (over.interval.low, over.interval.high, under.interval.low, under.interval.high)
    if min(ends) <= 0:
        return None
    down = math.hypot(math.log(over.value / over.interval.low), math.log(under.interval.high / under.value))
    up = math.hypot(math.log(over.interval.high / over.value), math.log(under.value / under.interval.low))
    return Interval(value * math.exp(-down), value * math.exp(up)).around(value)


def _a_card(cell: Cell, rate: float) -> float:
    return rate / cell.topology.ranks


def _clock(small: Cell, big: Cell) -> str | None:
    """The clock that both cells' numbers were read with; None where there are not two, or not by one clock."""
    clocks = [_read_with(cell) for cell in (small, big)]
    return clocks[0] if clocks[0] == clocks[1] else None


def _read_with(cell: Cell) -> str | None:
    known = cell.expectations["p_core"]
    return (known.clock or cell.timing) if known.has_number else None


def _expected(small: Cell, big: Cell) -> float | None:
    first, second = (cell.expectations["p_core"].value for cell in (small, big))
    return None if not first or second is None else _a_card(big, second) / _a_card(small, first)


def _unlike(small: Cell, big: Cell) -> str:
    """Why the two do different work on each card; "" where only the topology differs."""
    if small.batch_size != big.batch_size:
        batches = " and ".join(f"{cell.batch_size} at {cell.topology}" for cell in (small, big))
        return f"not comparable, as a card's batch is {batches}"
    first, second = vars(small.recipe), vars(big.recipe)
    differing = [name for name in ("model", "num_classes", "tf32") if first[name] != second[name]]
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
    words = f"{rate} a card at {big.cell.topology} over that at {small.cell.topology}"
    return words + ("" if interval is None else "; interval of a ratio of independent estimates")
