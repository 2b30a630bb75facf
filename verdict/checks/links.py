"""Checks of the links probe: all ranks were asked the same, and nothing is faster than the device's specification."""

from __future__ import annotations

from typing import Iterator

from evidence.events.links import ALL_REDUCE, DEVICES, SEND_RECV, shown_bytes
from expected.rates import SPECIFICATION, find_rate
from verdict.checks.invariants import Case, check
from verdict.metrics.links import pair_rates, timed


@check("links-asked")
def every_rank_exchanged(case: Case) -> Iterator[str]:
    """Where the run asked for its links, every rank of several took part in the same exchanges."""
    run, first = case.evidence.run, None
    if run is None or run.links in ("", "none") or len(case.evidence.ranks) < 2:
        return
    for rank in case.evidence.ranks:
        if rank.end is None:  # another check's
            continue
        done, names = rank.links_done, [one.name for one in rank.collectives]
        if done is None or (done.collectives, done.pairs) != (len(names), len(rank.pairs)):
            asked = "no 'links' event" if done is None else f"{done.collectives} collectives and {done.pairs} pairs"
            found = f"{len(names)} collectives and {len(rank.pairs)} pairs"
            yield f"rank {rank.rank}: found {asked} and results of {found}, expected one of each"
        elif rank.start is not None and not rank.start.t_ns <= done.begun_ns <= done.t_ns:  # e2e_time is without it
            yield f"rank {rank.rank}: found a links probe that begins outside the run, expected it after 'start'"
        elif first is None:
            first = names, done.not_asked
        elif (names, done.not_asked) != first:
            yield f"rank {rank.rank}: found results of other exchanges than on the ranks before it"


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
