"""Whether a run that goes on can still pass: what `--fail-fast` ends it for."""

from __future__ import annotations

from typing import Collection

from evidence.bundle import Evidence
from evidence.verdict import Interval, MetricVerdict, Verdict
from verdict.bounds import against_bounds
from verdict.checks.invariants import CHECKS, Case
from verdict.environment.stated import DIFFERS
from verdict.judge import Judged
from verdict.metrics.throughput import DECISIVE_STEPS, RATES, STEADY_MIN_STEPS
from verdict.probes.table import LINES

WIDER = 2.0
"""A rate is below its bound if an interval of so many times its 95 % width is.

A run is looked at hundreds of times, and the first look that says so ends it."""

CLOCKS = ("timer-sees-work", "synchronise-waits", "host-clock-monotonic")
"""Checks of tests that each stand for themselves: what one of them has found no later test takes back."""

OF_THE_END = ("map",)
"""Metrics that the rest of the run can turn."""


def cannot_pass(run: Judged, asked: Collection[str]) -> str:
    """Return why a run cannot pass any more, whatever the rest of it brings; "" if it can.

    `run` is from `judge_so_far`; `asked` are the questions that have to pass. Clocks have to be right for any
    of them. A rate fails with confidence, and on as many steps as a number is held against a published one with;
    memory, time, probes and what was found of the environment fail for good as soon as they do.

    >>> cannot_pass(judge_so_far(evidence, device, cell), {"p_core"})  # doctest: +SKIP
    'p_core 36.4 images/s is below 38.0 (0.95 x published 40.0)'
    """
    evidence = run.evidence
    for name in CLOCKS:
        for text in CHECKS[name].find(Case(evidence, run.cell, {}, run.device.backend)):
            return text
    if run.verdict.outcome is Verdict.INVALID:
        return ""  # of numbers that prove nothing no conclusion is drawn
    for item in run.environment if "environment" in asked else ():
        if item.verdict == DIFFERS and item.found:
            return f"environment {item.item}: stated {item.stated}, found {item.found}"
    for name, probe in run.verdict.probes.items() if _have_answered(run) else ():
        if probe.verdict is Verdict.FAIL and set(LINES[name][1]) & set(asked):
            return f"{name}: {probe.reason}"
    for name, metric in run.verdict.metrics.items():
        if metric.verdict is Verdict.FAIL and name in asked and name not in OF_THE_END and _is_sure(run, name):
            return metric.reason
    return ""


def _have_answered(run: Judged) -> bool:
    """Return whether every rank is done with its probes: the data set is read after them."""
    ranks = run.evidence.ranks
    return len(ranks) == run.cell.topology.ranks and all(rank.data for rank in ranks)


def _is_sure(run: Judged, name: str) -> bool:
    if name not in RATES:
        return True
    found = run.measurements.get(name)
    return found is not None and found.n >= fewest_steps(run.evidence) and surely_fails(run.verdict.metrics[name])


def surely_fails(rate: MetricVerdict) -> bool:
    """Return whether a rate lies outside its bounds with an interval that is WIDER times as wide too."""
    value, interval = rate.measured, rate.interval
    if value is None or interval is None:
        return False
    wider = Interval(value - WIDER * (value - interval.low), value + WIDER * (interval.high - value))
    return against_bounds(wider, rate.low, rate.high)[0] is Verdict.FAIL


def fewest_steps(evidence: Evidence) -> int:
    """Return the measured steps of each rank from which on a rate can end a run."""
    return STEADY_MIN_STEPS if evidence.simulated else max(STEADY_MIN_STEPS, DECISIVE_STEPS // len(evidence.ranks))
