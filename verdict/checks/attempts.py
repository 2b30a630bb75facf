"""Runs that broke off and were started again: what the last attempt can still prove, and whether it went on rightly."""

from __future__ import annotations

from typing import Iterator

from evidence.events import RankEvidence, Resumed
from verdict.checks.case import Case


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
