"""Checks of the probes: every rank answered all that was asked, and nothing exceeds the device's specification."""

from __future__ import annotations

from typing import Iterator

from evidence.events.links import ALL_REDUCE, DEVICES, SEND_RECV, shown_bytes
from evidence.events.peaks import PRODUCTS
from evidence.events.rank import RankEvidence
from expected.rates import SPECIFICATION, find_rate
from verdict.checks.invariants import Case, check, rank_check
from verdict.metrics.links import pair_rates, timed
from verdict.metrics.peaks import interval_of
from verdict.probes.peaks import specified_at_most
from verdict.probes.table import PROBES, Probe


def unanswered(probe: Probe, case: Case) -> Iterator[str]:
    """Yield each rank that does not have the answers that a probe has to have."""
    ranks, first = case.evidence.ranks, None
    asked = getattr(case.evidence.run, probe.option, "")
    if asked in ("", "none") or len(ranks) < probe.least_ranks:
        return
    for rank in ranks:
        if rank.end is None:  # another check's
            continue
        done = probe.done(rank)
        problem, answers = ("", None) if done is None else probe.answered(done, rank, asked)
        if done is None:
            problem = f"found no '{probe.event}' event, expected one"
        elif rank.start is not None and not rank.start.t_ns <= done.begun_ns <= done.t_ns:  # e2e_time is without it
            problem = f"found '{probe.event}' of a probe that begins outside the run, expected it after 'start'"
        elif not problem and first is not None and answers not in (None, first):
            problem = f"found other answers before '{probe.event}' than on the ranks before it, expected the same"
        if problem:
            yield f"rank {rank.rank}: {problem}"
        elif first is None:
            first = answers


def _register(probe: Probe) -> None:  # pragma: no mutate block
    def find(case: Case) -> Iterator[str]:
        return unanswered(probe, case)

    find.__doc__ = (
        f"Where `--{probe.option}` asked for it, every rank has all that its `{probe.event}` counts, and the same."
    )
    check(f"{probe.event.replace('_', '-')}-asked")(find)


for _probe in PROBES:
    _register(_probe)


@check("links-within-specification")
def no_link_is_faster_than_specified(case: Case) -> Iterator[str]:
    """No link is faster than the device's [[link]] rows specify: what was timed was then not an exchange."""
    rates, starts = case.cell.rates, dict(case.evidence.starts)
    for pair in pair_rates(case.evidence):
        specified = find_rate(rates, SEND_RECV, SPECIFICATION, between=pair.between)
        if specified is not None and pair.interval.low > specified.rate:
            yield (
                f"ranks {pair.ranks[0]} and {pair.ranks[1]}: found a send-recv of {pair.gb_per_s:.4g} GB/s one way, "
                f"above the specified {specified.rate:.4g} ({specified.source}); either less was exchanged, or the "
                "clock is wrong"
            )
    # Whatever the algorithm, a device sends at least the buffer itself; between hosts, their adapters are not counted.
    specified = find_rate(rates, SEND_RECV, SPECIFICATION, between=DEVICES)
    if specified is None or len({start.host for start in starts.values()}) > 1:
        return
    for one in timed(case.evidence, ALL_REDUCE):
        if one.interval.low > 0 and one.case.bytes / one.interval.high > specified.rate:
            yield (
                f"all-reduce of {shown_bytes(one.case.bytes)}: found {one.case.bytes / one.time_ns:.4g} GB/s of the "
                f"buffer, above the {specified.rate:.4g} that a device sends at most ({specified.source}); either less "
                "was exchanged, or the clock is wrong"
            )


@rank_check("peaks-within-specification")
def rates_are_below_the_specification(case: Case, rank: RankEvidence) -> Iterator[str]:
    """No copy, memory or product was measured above what the device's specification allows."""
    where = "" if rank.start is None else f"device {rank.start.card} of {rank.start.host}: "
    for one in rank.rates:
        most = specified_at_most(case.cell, one)
        if most is None or one.error or not interval_of(one).low > most.rate:
            continue
        unit = "TFLOPS" if one.of in PRODUCTS else "GB/s"
        why = (
            "the products are not computed in fp32 but in a narrower format, as TF32" if one.precision == "fp32" else ""
        )
        yield (
            f"{where}{one.name}: found {one.rate:.4g} {unit}, expected at most the specified {most.rate:g} "
            f"({most.source}): {why or 'less was done than was asked for'}, or the time is wrong"
        )
