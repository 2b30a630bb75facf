"""What has to hold for a run's evidence to be believed: the registry of checks, and their runner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, Mapping, NamedTuple

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from expected import Cell
from verdict.metrics.measurement import Measurement

_SPELLED_OUT = 4  # violations of one kind; on sixteen ranks the rest would only repeat them


@dataclass(frozen=True, eq=False)
class Case:
    """What a check is given: a run's evidence, the cell that it claims to be of, and what was measured.

    `backend` is the one that the cell's device needs; None if only run.json names it.
    """

    evidence: Evidence
    cell: Cell
    measurements: Mapping[str, Measurement]
    backend: str | None = None

    @property
    def protocol(self) -> str:
        """The run's protocol, "unknown" without a run.json."""
        return "unknown" if self.evidence.run is None else self.evidence.run.protocol


Find = Callable[[Case], Iterator[str]]
FindInRank = Callable[[Case, RankEvidence], Iterator[str]]


class Check(NamedTuple):
    """A registered check: `description` is the first line of its docstring; see `check` for the rest."""

    id: str
    description: str
    find: Find
    cause: bool
    at_end: bool


CHECKS: dict[str, Check] = {}
"""All checks by id, in the order of their reasons."""


# Registering happens at import, before mutmut chooses a mutant.
def check(id: str, *, cause: bool = False, at_end: bool = False) -> Callable[[Find], Find]:  # pragma: no mutate block
    """Register the decorated function as a check that invalidates a run.

    It yields a text for each violation: where (rank or file), what was found, what was expected. If a check with
    `cause` finds something, no other check runs: whatever else is wrong follows from that. One that is `at_end` holds
    only of a run that came to its end; all others hold of every beginning of a sound run.

    >>> @check("batch-size")  # doctest: +SKIP
    ... def batches_fit(case):
    ...     '''Every batch has at least one image and at most the cell's batch size.'''
    ...     yield "rank 1: step 53: found a batch of 5 images, expected 1 to 4"
    """

    def register(find: Find) -> Find:
        assert id not in CHECKS, id
        CHECKS[id] = Check(id, (find.__doc__ or "").partition("\n")[0], find, cause, at_end)
        return find

    return register


def rank_check(id: str, *, at_end: bool = False) -> Callable[[FindInRank], FindInRank]:  # pragma: no mutate block
    """Register the decorated function as a check of each rank; its texts follow "rank 1: "."""

    def register(find: FindInRank) -> FindInRank:
        def in_all_ranks(case: Case) -> Iterator[str]:
            for rank in case.evidence.ranks:
                for text in find(case, rank):
                    yield f"rank {rank.rank}: {text}"

        in_all_ranks.__doc__, in_all_ranks.__module__ = find.__doc__, find.__module__
        check(id, at_end=at_end)(in_all_ranks)
        return find

    return register


NOTES: list[Find] = []
"""All functions that `note` registered, in the order of their texts."""


def note(find: Find) -> Find:  # pragma: no mutate block
    """Register the decorated function: it yields what a reader of the numbers has to know and what decides nothing."""
    NOTES.append(find)
    return find


def notes(evidence: Evidence, cell: Cell, measurements: Mapping[str, Measurement]) -> tuple[str, ...]:
    """What is to be said of a run whose evidence can be trusted."""
    case = Case(evidence, cell, measurements)
    return tuple(text for find in NOTES for text in find(case))


def violations(
    evidence: Evidence,
    cell: Cell,
    measurements: Mapping[str, Measurement],
    *,
    backend: str | None = None,
    ended: bool = True,
) -> tuple[str, ...]:
    """Why the evidence cannot be trusted as a run of `cell`; empty when it can. The cause comes first.

    `backend` is the one that the cell's device needs; without it, the one that run.json names is taken as right. Of a
    run that has not `ended`, or was ended on purpose, only what already has to hold is checked.
    """
    case = Case(evidence, cell, measurements, backend)
    causes = _run(case, cause=True, ended=ended)
    return (*causes, *evidence.problems, *(() if causes else _run(case, cause=False, ended=ended)))


def _run(case: Case, *, cause: bool, ended: bool) -> tuple[str, ...]:
    texts: list[str] = []
    for one in CHECKS.values():
        found = list(one.find(case)) if one.cause == cause and (ended or not one.at_end) else []
        texts += found[:_SPELLED_OUT]
        if len(found) > _SPELLED_OUT:
            texts.append(f"and {len(found) - _SPELLED_OUT} more like it")
    return tuple(texts)
