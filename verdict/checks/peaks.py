"""Checks of the probes of copies, memory and peaks: every rank was asked, and nothing exceeds its specification."""

from __future__ import annotations

from typing import Iterator

from evidence.events.peaks import PRODUCTS
from evidence.events.rank import RankEvidence
from verdict.checks.invariants import Case, check, rank_check
from verdict.metrics.peaks import interval_of
from verdict.probes.peaks import specified_at_most


@check("peaks-asked")
def every_rank_was_measured(case: Case) -> Iterator[str]:
    """Where the run asked for copies, memory and peaks, every rank measured all of them, and the same products."""
    run, first = case.evidence.run, None
    if run is None or run.links in ("", "none"):
        return
    for rank in case.evidence.ranks:
        if rank.end is None:  # another check's
            continue
        done, products = rank.peaks_done, sorted(one.name for one in rank.rates if one.of in PRODUCTS)
        if done is None or done.rates != len(rank.rates):
            found = "no 'peaks' event" if done is None else f"{done.rates} rates"
            yield f"rank {rank.rank}: found {found} and {len(rank.rates)} events with a rate, expected as many of both"
        elif rank.start is not None and not rank.start.t_ns <= done.begun_ns <= done.t_ns:  # e2e_time is without it
            yield f"rank {rank.rank}: found a peaks probe that begins outside the run, expected it after 'start'"
        elif first is None:
            first = products
        elif products != first:
            yield f"rank {rank.rank}: found other products in the peaks probe than on the ranks before it"


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
