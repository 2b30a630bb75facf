"""Checks of the clocks that a run was timed by."""

from __future__ import annotations

import statistics
from typing import Iterator, Mapping

from evidence.bundle import Evidence
from evidence.events import SIMULATED_CLOCK, RankEvidence
from expected import Cell
from verdict.checks.invariants import CHECKS, Case, check, rank_check

TOLERANCE = 0.25
"""Relative difference allowed between the readings of a round; wrong clocks differ by more, busy hosts by less."""
LEAST_WORK_NS = 1_000_000
"""A round shorter than this shows nothing: queueing the work takes as long as doing it."""
HOST_TOLERANCE = 0.01
HOST_TOLERANCE_S = 5.0
"""What two clocks of a host may differ by over a run: the larger of the share and the seconds."""


@rank_check("clock-tested")
def clock_was_tested(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Every rank timed a known amount of work before it trained."""
    if rank.clock is None:
        yield "found no 'clock_test' event, expected one: its timer was never put to the test"


@rank_check("timer-sees-work")
def timer_sees_the_work(case: Case, rank: RankEvidence) -> Iterator[str]:
    """The step timer measures queued work as the host's clock does, within 25 %."""
    probe = rank.clock
    if probe is None:
        return
    share = statistics.median(
        seen / wall if wall > 0 else 0.0 for seen, wall in zip(probe.timer_ns, probe.timer_wall_ns)
    )
    if not 1 - TOLERANCE <= share <= 1 + TOLERANCE:
        yield (
            f"clock test: the step timer saw {share:.0%} of the time that queued work took, expected "
            f"{1 - TOLERANCE:.0%} to {1 + TOLERANCE:.0%}: the device's timer is wrong"
        )
    shortest_ns = min(statistics.median(probe.work_ns), statistics.median(probe.timer_wall_ns))
    if shortest_ns < LEAST_WORK_NS:
        yield f"clock test: found {shortest_ns / 1e6:.3f} ms of work, expected 1 ms or more"


@rank_check("synchronise-waits")
def synchronise_waits(case: Case, rank: RankEvidence) -> Iterator[str]:
    """`synchronise` returns only when the queued work is done."""
    if rank.clock is None:
        return
    pairs = zip(rank.clock.synchronise_ns, rank.clock.after_ns)
    left = statistics.median(after / (waited + after) if waited + after > 0 else 1.0 for waited, after in pairs)
    if left > TOLERANCE:
        yield (
            f"clock test: {left:.0%} of the time that queued work took passed after synchronise had returned, expected "
            f"at most {TOLERANCE:.0%}: it does not wait for the device"
        )


@rank_check("host-clock-monotonic")
def host_clock_is_monotonic(case: Case, rank: RankEvidence) -> Iterator[str]:
    """The host's monotonic clock never goes back."""
    if rank.clock is not None and rank.clock.steps_back:
        yield f"clock test: the host's clock went back {rank.clock.steps_back} times, expected it never to"


@check("clocks-agree")
def clocks_agree(case: Case) -> Iterator[str]:
    """The host's time of day was not set during the run, and no rank's clock ran faster than the launching host's.

    A simulated clock is not compared: device-is-real allows it on the simulated device alone.
    """
    run = case.evidence.run
    if run is None or run.boot.elapsed_s is None or run.boot.elapsed_utc_s is None:
        return
    elapsed_s, utc_s = run.boot.elapsed_s, run.boot.elapsed_utc_s
    allowed_s = max(HOST_TOLERANCE_S, HOST_TOLERANCE * elapsed_s)
    if abs(utc_s - elapsed_s) > allowed_s:
        yield (
            f"run.json: the time of day moved by {utc_s:.0f} s in a run of {elapsed_s:.0f} s: the host's clock was set "
            "meanwhile; leave it to a time service that slews it, and run again"
        )
    for rank in case.evidence.ranks:
        if rank.start is None or rank.end is None or rank.start.clock == SIMULATED_CLOCK:
            continue
        own_s = (rank.end.t_ns - rank.start.t_ns) / 1e9
        if own_s > elapsed_s + allowed_s:
            yield (
                f"rank {rank.rank}: its clock says {own_s:.0f} s from start to end, expected at most the "
                f"{elapsed_s:.0f} s that the launch took"
            )


def clock_faults(evidence: Evidence, cell: Cell) -> Mapping[str, tuple[str, ...]] | None:
    """What each of these checks finds, by its id; None if a rank of the cell has no clock test."""
    tested = {rank.rank for rank in evidence.ranks if rank.clock is not None}
    if not tested >= set(range(cell.topology.ranks)):
        return None
    case = Case(evidence, cell, {})
    names = ("timer-sees-work", "synchronise-waits", "host-clock-monotonic", "clocks-agree")
    return {name: tuple(CHECKS[name].find(case)) for name in names}
