"""Checks of the clocks that a run was timed by: before training, at random steps of it, and in the training itself."""

from __future__ import annotations

import statistics
from typing import Iterator, Mapping

from evidence.bundle import Evidence
from evidence.events.clocks import LEAST_WORK_NS, SIMULATED_CLOCK, AgentClock, ClockProbe, ClockRetest
from evidence.events.rank import RankEvidence
from evidence.files import WORK_SCHEMA
from expected import Cell
from verdict.checks.invariants import CHECKS, Case, check, note, rank_check
from verdict.metrics.statistics import total
from verdict.metrics.throughput import window_sums

TOLERANCE = 0.25
"""Relative difference allowed between the readings of a round; wrong clocks differ by more, busy hosts by less."""
EVENTS_TOLERANCE = 0.01
"""Relative difference allowed between the device's events and the host's clock over spans of two seconds and more."""
AGENT_TOLERANCE = 0.005
AGENT_TOLERANCE_S = 0.25
"""What the clocks of a rank and its agent may differ by over training: the larger of the share and the seconds."""
_COARSE = 2 * AGENT_TOLERANCE  # to be said, if no smaller difference could have been seen
LEFT_TOLERANCE = 0.01
LEFT_TOLERANCE_NS = 10_000_000
"""What reading a loss may take after synchronise: the larger of the share of the window's compute and the time."""
HOST_TOLERANCE = 0.01
HOST_TOLERANCE_S = 5.0
"""What two clocks of a host may differ by over a run: the larger of the share and the seconds."""


@rank_check("clock-tested", at_end=True)
def clock_was_tested(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Every rank timed a known amount of work before it trained, and again at random steps."""
    if rank.clock is None:
        yield "found no 'clock_test' event, expected one: its timer was never put to the test"
    if _watched(rank) and not rank.retests:
        yield "found no 'clock_retest' event, expected one or more: its timer was not put to the test in training"


@rank_check("timer-sees-work")
def timer_sees_the_work(case: Case, rank: RankEvidence) -> Iterator[str]:
    """The step timer measures queued work as the host's clock does, within 25 %."""
    for where, probe in _tests(rank):
        pairs = zip(probe.timer_ns, probe.timer_wall_ns)
        share = statistics.median(seen / wall if wall > 0 else 0.0 for seen, wall in pairs)
        if not 1 - TOLERANCE <= share <= 1 + TOLERANCE:
            yield (
                f"{where}: the step timer saw {share:.0%} of the time that queued work took, expected "
                f"{1 - TOLERANCE:.0%} to {1 + TOLERANCE:.0%}: the device's timer is wrong"
            )
    if rank.clock is not None and rank.clock.shortest_ns < LEAST_WORK_NS:
        yield f"clock test: found {rank.clock.shortest_ns / 1e6:.3f} ms of work, expected 1 ms or more"


@rank_check("synchronise-waits")
def synchronise_waits(case: Case, rank: RankEvidence) -> Iterator[str]:
    """`synchronise` returns only when the queued work is done."""
    said = f"; {rank.clock.note}" if rank.clock is not None and rank.clock.note else ""
    for where, probe in _tests(rank):
        pairs = zip(probe.synchronise_ns, probe.after_ns)
        left = statistics.median(after / (waited + after) if waited + after > 0 else 1.0 for waited, after in pairs)
        if left > TOLERANCE:
            yield (
                f"{where}: {left:.0%} of the time that queued work took passed after synchronise had returned, "
                f"expected at most {TOLERANCE:.0%}: it does not wait for the device{said}"
            )


@rank_check("windows-end-idle")
def windows_end_with_the_device_idle(case: Case, rank: RankEvidence) -> Iterator[str]:
    """After a window's last synchronise nothing is left to wait for: its last loss is read at once."""
    windows = rank.windows.measured
    if not windows.steps:
        return
    # Medians: on a busy host another process comes between now and then.
    left_ns, usual_ns = (
        statistics.median(one.tolist()) for one in (windows.read_ns, window_sums(windows, windows.compute_ns))
    )
    allowed_ns = max(LEFT_TOLERANCE_NS, LEFT_TOLERANCE * usual_ns)
    if left_ns > allowed_ns:
        yield (
            f"reading the last loss of a window took {left_ns / 1e6:.1f} ms after synchronise had returned, expected "
            f"at most {allowed_ns / 1e6:.1f} ms beside {usual_ns / 1e6:.0f} ms of compute: it does not wait for the "
            "device"
        )


@rank_check("events-agree")
def events_agree(case: Case, rank: RankEvidence) -> Iterator[str]:
    """The device's events measure windows of two seconds and more as the host's clock does, within 1 %."""
    windows = rank.windows.measured
    host_ns, device_ns = total(windows.span_ns), total(windows.span_device_ns)
    # Of all together: this bounds the error of a rate, and the host may read its clock late now and then.
    if host_ns > 0 and abs(device_ns / host_ns - 1) > EVENTS_TOLERANCE:
        yield (
            f"the device's events saw {device_ns / 1e9:.3f} s of the {host_ns / 1e9:.3f} s that passed by the host's "
            f"clock in windows of two seconds or more, expected the same within {EVENTS_TOLERANCE:.0%}: one of the two "
            "is wrong"
        )


@rank_check("agent-agrees", at_end=True)
def agent_agrees(case: Case, rank: RankEvidence) -> Iterator[str]:
    """A rank's clock and that of its host's agent agree over training within the larger of 0.5 % and 0.25 s."""
    if not _watched(rank):
        return
    readings = rank.agent_clock
    if not _frames(rank):
        yield (
            f"found {len(readings)} readings of its agent's clock, expected one before training and one after it: its "
            "own has nothing to be held against"
        )
        return
    for one in readings[1:]:
        agent_s, own_s, unsure_s = _elapsed(readings[0], one)
        if abs(own_s - agent_s) > _allowed_s(agent_s, unsure_s):
            yield (
                f"its clock says {own_s:.2f} s of training where its agent's says {agent_s:.2f} s, expected the same "
                f"within {_allowed_s(agent_s, unsure_s):.2f} s: one of the two is wrong"
            )
            return


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


@note
def clocks_that_were_hardly_compared(case: Case) -> Iterator[str]:
    """What the readings of clocks in training were too few or too short to show."""
    ranks = [rank for rank in case.evidence.ranks if rank.windows.measured.steps]
    watched = [rank for rank in ranks if _watched(rank)]
    if len(watched) < len(ranks):
        yield "evidence of schema 2 has no readings of the clocks in training: that they were right in it is not shown"
    compared = [_elapsed(rank.agent_clock[0], rank.agent_clock[-1]) for rank in watched if _frames(rank)]
    unseen = [_allowed_s(agent_s, unsure_s) / agent_s for agent_s, _, unsure_s in compared]
    if unseen and max(unseen) > _COARSE:
        yield (
            f"the clocks of ranks and agents were compared over {min(compared)[0]:.1f} s, in which a difference of "
            f"less than {max(unseen):.1%} cannot be seen"
        )
    by_events = [rank for rank in watched if rank.start is not None and rank.start.timing == "device_events"]
    if not all(rank.windows.measured.span_ns.any() for rank in by_events):
        yield "training was too short to hold the device's events against the host's clock: two seconds of steps"


def _watched(rank: RankEvidence) -> bool:
    """Whether a rank that trained had to read clocks in training; older versions did not."""
    start = rank.start
    return start is not None and start.schema >= WORK_SCHEMA and rank.windows.measured.steps > 0


def _tests(rank: RankEvidence) -> Iterator[tuple[str, ClockProbe | ClockRetest]]:
    """The clock tests of a rank, and where each took place in words."""
    if rank.clock is not None:
        yield "clock test", rank.clock
    for again in rank.retests:
        yield f"clock test before step {again.step}", again


def _frames(rank: RankEvidence) -> bool:
    """Whether there is a reading of the agent's clock before training and one after it."""
    begin_ns, end, readings = rank.train_begin_ns, rank.train_end, rank.agent_clock
    if begin_ns is None or end is None or len(readings) < 2:
        return False
    return (
        readings[0].t_ns <= begin_ns
        and readings[-1].asked_ns >= end.t_ns
        and _elapsed(readings[0], readings[-1])[0] > 0
    )


def _elapsed(first: AgentClock, last: AgentClock) -> tuple[float, float, float]:
    """(s by the agent's clock, by the rank's, and by how much that is uncertain) between two readings."""
    own_ns = (last.asked_ns + last.t_ns - first.asked_ns - first.t_ns) / 2
    unsure_ns = (last.t_ns - last.asked_ns + first.t_ns - first.asked_ns) / 2
    return (last.agent_ns - first.agent_ns) / 1e9, own_ns / 1e9, unsure_ns / 1e9


def _allowed_s(agent_s: float, unsure_s: float) -> float:
    """What the clocks may differ by in so many seconds of the agent's, where the readings are so uncertain."""
    return max(AGENT_TOLERANCE_S, AGENT_TOLERANCE * agent_s) + unsure_s


def clock_readings(evidence: Evidence) -> dict[str, object]:
    """Return the worst readings of all ranks' clock tests, times as shares of 1 or in ms; {} without any."""
    tests = [(rank, rank.clock) for rank in evidence.ranks if rank.clock is not None]
    if not tests:
        return {}
    shares = [
        statistics.median(seen / wall if wall > 0 else 0.0 for seen, wall in zip(one.timer_ns, one.timer_wall_ns))
        for _, one in tests
    ]
    return {
        "ranks_tested": len(tests),
        "tests_in_training": sum(len(rank.retests) for rank, _ in tests),
        "timer_saw_of_the_work_least": min(shares),
        "timer_saw_of_the_work_most": max(shares),
        "work_ms": min(one.shortest_ns for _, one in tests) / 1e6,
        "left_after_synchronise_ms": max(statistics.median(one.after_ns) for _, one in tests) / 1e6,
        "steps_back": sum(one.steps_back for _, one in tests),
    }


def clock_faults(evidence: Evidence, cell: Cell) -> Mapping[str, tuple[str, ...]] | None:
    """What each of these checks finds, by its id; None if a rank of the cell has no clock test.

    Without those that need the end of a run, for one that --fail-fast ended before.
    """
    tested = {rank.rank for rank in evidence.ranks if rank.clock is not None}
    if not tested >= set(range(cell.topology.ranks)):
        return None
    case = Case(evidence, cell, {})
    names = (
        *("timer-sees-work", "synchronise-waits", "windows-end-idle", "events-agree", "agent-agrees"),
        *("host-clock-monotonic", "clocks-agree"),
    )
    checks = [CHECKS[name] for name in names if not (evidence.stopped and CHECKS[name].at_end)]
    return {one.id: tuple(one.find(case)) for one in checks}
