"""Judges what a device was measured to do at most: copies, memory, matrix products, convolutions.

A rate passes if it is at least 0.95 of one that was measured and published with the same definition; with only a
specification it is recorded as a share of it. A wrong result fails whatever the rate. Above the specification makes the
run invalid: verdict/checks/probes.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Callable, Sequence

from evidence.bundle import Evidence
from evidence.events.peaks import (
    CONVOLUTION,
    COPIES,
    GEMM,
    MEMORY_COPY,
    MEMORY_TRIAD,
    PATTERNS,
    PRODUCTS,
    DeviceRate,
    PeaksDone,
    Sustained,
)
from evidence.events.rank import RankEvidence
from evidence.verdict import ProbeVerdict, Verdict
from expected import Cell
from expected.cells import FORMATS
from expected.rates import MEASURED, SPECIFICATION, Rate
from verdict.bounds import against_bounds
from verdict.metrics.peaks import interval_of
from verdict.probes.answers import ProbeAnswer, in_one_line, place_of, worst_of

LEAST_OF_MEASURED = 0.95
"""Of a published measurement, as of every throughput."""
LEAST_SUSTAINED = 0.97
"""The last tenth of a minute of products over the first, in speed."""
_ENDS = 0.1


def answered(done: PeaksDone, rank: RankEvidence, asked: str) -> tuple[str, object]:
    """Return what is wrong with a rank's answers, and the rates that all ranks have to have.

    Alone copies the first rank of each host, in a full probe each; all at once copy the ranks of a host of several.
    """
    if done.rates != len(rank.rates):
        return f"found {done.rates} rates and {len(rank.rates)} events with a rate, expected as many of both", None
    untimed = [one.name for one in rank.rates if not one.error and not (min(one.times_ns, default=0) > 0 < one.rate)]
    if untimed:
        return f"found no work or no time of {untimed[0]}, expected both above 0: the step timer is wrong", None
    alone, at_once = (
        sorted((one.of, bool(one.pinned)) for one in rank.rates if one.of in COPIES and (one.devices > 1) == several)
        for several in (False, True)
    )
    expected = at_once if asked == "full" or rank.start is None or rank.start.local_rank == 0 else []
    if at_once and alone != expected:
        return f"found {len(alone)} rates of copies alone, expected {len(expected)}, as of those at once", None
    others = sorted(one.name for one in rank.rates if one.of not in COPIES)
    return "", (others, at_once, [] if at_once else alone, rank.sustained is not None)


Ranked = Sequence["tuple[int, DeviceRate]"]


def rates_of(evidence: Evidence, wanted: Callable[[DeviceRate], bool]) -> Ranked:
    """Return (rank, rate) of every rate that is wanted."""
    return [(rank.rank, one) for rank in evidence.ranks for one in rank.rates if wanted(one)]


def published(cell: Cell, rate: DeviceRate, kind: str) -> Rate | None:
    """Return the device's published rate of that kind and the same definition; None without one.

    What the row leaves open fits: memory of the host, devices at once. Triad is held against copy.
    """
    of = MEMORY_COPY if rate.of == MEMORY_TRIAD else GEMM if rate.of == CONVOLUTION else rate.of
    if rate.of == CONVOLUTION and kind == MEASURED:
        return None
    for one in cell.rates:
        fits = one.pinned in (None, rate.pinned) and one.devices in (None, rate.devices)
        if (one.of, one.kind, one.precision) == (of, kind, rate.precision) and fits:
            return one
    return None


def specified_at_most(cell: Cell, rate: DeviceRate) -> Rate | None:
    """Return what a rate cannot exceed: its specification, of products that of the next narrower stated format.

    No device is faster in a wider format.
    """
    if rate.of not in PRODUCTS:
        return published(cell, rate, SPECIFICATION)
    stated = {one.precision: one for one in cell.rates if (one.of, one.kind) == (GEMM, SPECIFICATION)}
    return next((stated[one] for one in FORMATS[FORMATS.index(rate.precision) :] if one in stated), None)


def judge_rate(cell: Cell, rate: DeviceRate, where: str, question: str) -> ProbeAnswer:
    """Return the verdict on one rate of the rank that `where` names."""
    unit = "TFLOPS" if rate.of in PRODUCTS else "GB/s"
    known, most = published(cell, rate, MEASURED), published(cell, rate, SPECIFICATION)
    share = "" if most is None else f", {rate.rate / most.rate:.0%} of the specified {most.rate:g}"
    text = f"{where}: {rate.name} {rate.rate:.4g} {unit}"
    verdict, reason, margin = Verdict.RECORDED, f"{text}{share}; no measured rate is published", 0.0
    if rate.error:
        verdict, reason, margin = Verdict.FAIL, f"{where}: {rate.name}: no answer: {rate.error}", math.inf
    elif rate.wrong or not rate.checked:
        reason = f"{where}: {rate.name}: {rate.wrong} of {rate.checked} numbers are wrong, expected none"
        verdict, margin = Verdict.FAIL, math.inf
    elif rate.of == PATTERNS:
        verdict, reason = Verdict.PASS, f"{where}: {rate.checked} words held every pattern"
    elif known is not None:
        low = LEAST_OF_MEASURED * known.rate
        verdict, _ = against_bounds(interval_of(rate), low, None)
        margin = low / rate.rate if rate.rate > 0 else math.inf
        reason = f"{text}, expected {low:.4g} or more ({LEAST_OF_MEASURED:g} x {known.rate:g}, {known.source}){share}"
    return ProbeAnswer(question, verdict, reason, margin, 1)


def judge_rates(evidence: Evidence, cell: Cell, question: str, found: Ranked) -> ProbeAnswer | None:
    """Return the worst verdict on these rates; of recorded ones the slowest. None without any."""
    starts = dict(evidence.starts)
    slowest = sorted(found, key=lambda one: one[1].rate)
    worst = worst_of(judge_rate(cell, one, place_of(rank, starts), question) for rank, one in slowest)
    return None if worst is None else replace(worst, cases=len(found))


def judge_copies(evidence: Evidence, cell: Cell) -> ProbeAnswer | None:
    """Return the verdict on all copies between host and devices."""
    return judge_rates(evidence, cell, "copies", rates_of(evidence, lambda one: one.of in COPIES))


def judge_memory(evidence: Evidence, cell: Cell, part: str) -> ProbeAnswer | None:
    """Return the verdict on the memory's "bandwidth" or its "patterns"."""
    of = (PATTERNS,) if part == "patterns" else (MEMORY_COPY, MEMORY_TRIAD)
    return judge_rates(evidence, cell, f"memory {part}", rates_of(evidence, lambda one: one.of in of))


def judge_peak(evidence: Evidence, cell: Cell, name: str) -> ProbeAnswer | None:
    """Return the verdict on a product, as fp32-gemm, or on both passes of a convolution."""
    return judge_rates(evidence, cell, name, rates_of(evidence, lambda one: one.peak == name))


def judge_sustained(evidence: Evidence) -> ProbeAnswer | None:
    """Return the verdict on a minute of products: the last tenth as fast as the first; clocks and heat beside.

    None if no rank was asked, as in a quick probe.
    """
    starts = dict(evidence.starts)
    answers = [
        _judged_sustained(rank.sustained, place_of(rank.rank, starts))
        for rank in evidence.ranks
        if rank.sustained is not None
    ]
    worst = worst_of(answers)
    return None if worst is None else replace(worst, cases=len(answers))


def _judged_sustained(one: Sustained, where: str) -> ProbeAnswer:
    share = kept_speed(one)
    beside = [f"{words} {values[0]:g} to {values[-1]:g} {unit}" for words, values, unit in _beside(one) if values]
    beside += [f"throttled: {', '.join(one.throttle)}"] if one.throttle else []
    text = f"{where}: {one.precision} products in the last tenth of {sum(one.times_ns) / 1e9:.0f} s are {share:.1%} as "
    reason = f"{text}fast as in the first{'; ' if beside else ''}{', '.join(beside)}"
    if one.wrong or not one.checked:
        reason = f"{where}: {one.wrong} of {one.checked} sums are wrong after {sum(one.times_ns) / 1e9:.0f} s"
        return ProbeAnswer("sustained", Verdict.FAIL, reason, math.inf, 1)
    margin = LEAST_SUSTAINED / share if share > 0 else math.inf
    if not share >= LEAST_SUSTAINED:
        return ProbeAnswer("sustained", Verdict.FAIL, f"{reason}; expected {LEAST_SUSTAINED:.0%}", margin, 1)
    return ProbeAnswer("sustained", Verdict.PASS, reason, margin, 1)


def kept_speed(one: Sustained) -> float:
    """Return the speed of the last tenth of the repeats over that of the first tenth."""
    count = max(1, round(_ENDS * len(one.times_ns)))
    first, last = sum(one.times_ns[:count]), sum(one.times_ns[-count:])
    return first / last if last > 0 else math.nan


def _beside(one: Sustained) -> tuple[tuple[str, Sequence[float], str], ...]:
    return (("clock", one.core_clock_mhz, "MHz"), ("temperature", one.temperature_c, "C"), ("power", one.power_w, "W"))


def copies_line(evidence: Evidence, cell: Cell) -> ProbeVerdict | None:
    """Return the copies of a run in one line: the slowest pinned ones, else pageable, each way; None without any."""
    found = [one for _, one in rates_of(evidence, lambda one: one.of in COPIES)]
    best = [one for one in found if one.pinned] or found
    ways = [min((one.rate for one in best if one.of == of), default=math.nan) for of in COPIES]
    kind = "pinned" if any(one.pinned for one in best) else "pageable"
    shown = f"{ways[0]:.3g} GB/s to the device, {ways[1]:.3g} back, {kind}"
    return _line([judge_copies(evidence, cell)], shown, "contents right")


def memory_line(evidence: Evidence, cell: Cell) -> ProbeVerdict | None:
    """Return the memory of a run in one line: the slowest device's copy and triad; None if it was not asked."""
    parts = [
        f"{of[len('memory-') :]} {min(rates):.4g} GB/s"
        for of in (MEMORY_COPY, MEMORY_TRIAD)
        for rates in [[one.rate for _, one in rates_of(evidence, lambda one, of=of: one.of == of)]]  # type: ignore[misc]
        if rates
    ]
    answers = [judge_memory(evidence, cell, part) for part in ("bandwidth", "patterns")]
    return _line(answers, ", ".join(parts), "patterns held")


def peaks_line(evidence: Evidence, cell: Cell) -> ProbeVerdict | None:
    """Return the products of a run in one line: each format, and the convolutions from slowest to fastest."""
    products = [one for _, one in rates_of(evidence, lambda one: one.of in PRODUCTS)]
    names = list(dict.fromkeys(one.peak for one in products))
    shown = [
        f"{name[: -len('-gemm')]} {min(one.rate for one in products if one.peak == name):.4g} TFLOPS"
        for name in names
        if name.endswith("-gemm")
    ]
    rates = [one.rate for one in products if one.of == CONVOLUTION and not one.error]
    shown += [f"convolutions {min(rates):.3g} to {max(rates):.3g}"] if rates else []
    answers = [*(judge_peak(evidence, cell, name) for name in names), judge_sustained(evidence)]
    return _line(answers, ", ".join(shown), "results right")


def _line(answers: Sequence[ProbeAnswer | None], shown: str, bound: str) -> ProbeVerdict | None:
    """Return a probe's line: recorded if no answer is worse than that, with what was measured."""
    found = [one for one in answers if one is not None]
    if not found:
        return None
    worst = Verdict.worst(one.verdict for one in found)
    if worst in (Verdict.PASS, Verdict.RECORDED):
        return ProbeVerdict(shown, bound, worst)
    line = in_one_line([one for one in found if one.verdict is not Verdict.RECORDED], passed=shown, bound=bound)
    return replace(line, measured=shown)
