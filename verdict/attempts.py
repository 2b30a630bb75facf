"""Runs that broke off and were started again: what the last attempt can still prove, and whether it went on rightly."""

from __future__ import annotations

from typing import Iterator

from verdict.case import Case
from verdict.events import RankEvidence, Resumed
from verdict.evidence import Evidence

_OF_THE_WHOLE = ("e2e_time", "p_whole")
"""What is measured from a run's beginning to its end, and so by no attempt alone."""
_OF_TRAINING = ("p_train", "p_core", "mem")


def times(count: int) -> str:
    """A number of restarts in words: "once", "twice", "3 times"."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def lost_by_restart(name: str, evidence: Evidence) -> str:
    """Why a metric cannot be told of a run that was restarted; "" where it can, or where the run never was."""
    restarts = () if evidence.run is None else evidence.run.restarts
    if not restarts:
        return ""
    why = f"the run was restarted {times(len(restarts))}: {'; '.join(restarts)}"
    if name in _OF_THE_WHOLE:
        return why
    idle = bool(evidence.ranks) and all(rank.nothing_left and not rank.epochs for rank in evidence.ranks)
    return f"{why}; the last attempt had nothing left to train" if name in _OF_TRAINING and idle else ""


def attempts_are_not_mixed(case: Case) -> Iterator[str]:
    """Every rank's file is of the attempt that came last."""
    run = case.evidence.run
    if run is None:
        return
    expected = len(run.restarts)
    for rank, start in case.evidence.starts:
        found = start.attempt or 0
        if found != expected:
            yield (
                f"rank {rank}: found attempt {found}, expected {expected}, as run.json lists {expected} restarts: "
                "mixed attempts prove nothing"
            )


def last_attempt_goes_on(case: Case) -> Iterator[str]:
    """All ranks of a restarted run went on from one position, and did exactly what was left from there on."""
    run, ranks = case.evidence.run, case.evidence.ranks
    if run is None:
        return
    for rank in ranks:
        if rank.resumed is not None and (not run.restarts or run.protocol == "steady"):
            yield f"rank {rank.rank}: found a 'resumed' event, expected none in this run"
        if _place(rank) != _place(ranks[0]):
            other = f"{_place(ranks[0])} as on rank {ranks[0].rank}"
            yield f"rank {rank.rank}: went on from {_place(rank)}, expected {other}"
    if not run.restarts or run.protocol == "steady":
        return
    for rank in ranks:
        yield from _position_adds_up(rank)
        windows = rank.windows.measured
        first = 0 if rank.resumed is None else rank.resumed.first_step
        if windows.steps and windows.step[0] != first:
            yield f"rank {rank.rank}: found step {windows.step[0]} as the first, expected step {first}"


def _place(rank: RankEvidence) -> str:
    at: Resumed | None = rank.resumed
    return "the beginning" if at is None else f"step {at.step} of epoch {at.epoch}, {at.steps_left} left"


def _position_adds_up(rank: RankEvidence) -> Iterator[str]:
    """The epoch that was broken off had the steps that were left, the ones after it have all."""
    at = rank.resumed
    if at is None:
        return
    whole = at.step + at.steps_left
    if min(at.epoch, at.step, at.steps_left) < 0 or at.first_step != at.epoch * whole + at.step:
        yield f"rank {rank.rank}: found {_place(rank)} as step {at.first_step} of the run, expected these to agree"
    for epoch in rank.epochs:
        expected = at.steps_left if epoch.epoch == at.epoch else whole
        if epoch.steps != expected:
            yield f"rank {rank.rank}: epoch {epoch.epoch}: found {epoch.steps} steps, expected the {expected} left"
