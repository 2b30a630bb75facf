"""Checks of the environment variables of the ranks: the same arithmetic on all of them, and that of the row."""

from __future__ import annotations

from typing import Iterator

from evidence.events.rank import RankEvidence
from evidence.variables.declared import ARITHMETIC, SPEED, changes, recipe_problems
from verdict.checks.invariants import Case, check, note, rank_check


@check("variables-agree")
def variables_agree(case: Case) -> Iterator[str]:
    """Variables that change what a device computes have the same value on all ranks."""
    for name, where, found, expected, first in _differences(case, ARITHMETIC):
        yield (
            f"{where}: found {_shown(name, found)}, expected {_shown(name, expected)} as on {first}: these ranks may "
            "compute differently; set it to the same on all hosts"
        )


@rank_check("precision-lowered")
def precision_is_the_rows(case: Case, rank: RankEvidence) -> Iterator[str]:
    """No variable lowers the precision of products below the row's, except those that the row's recipe declares."""
    if rank.start is None:
        return
    recipe = case.cell.recipe
    yield from recipe_problems(rank.start.variables, recipe.lowered, recipe.tf32, case.cell.id)


@note
def other_variables_that_differ(case: Case) -> Iterator[str]:
    """Variables that change how fast ranks compute, where ranks differ in them."""
    for name, where, found, expected, first in _differences(case, SPEED):
        yield f"{where} has {_shown(name, found)}, and {first} {_shown(name, expected)}"


def _differences(case: Case, kind: str) -> Iterator[tuple[str, str, str | None, str | None, str]]:
    """Yield (name, rank and host, its value, the first rank's, the first rank); the first rank of a host alone."""
    starts = case.evidence.starts
    if not starts:
        return
    first, of_first = starts[0]
    names = sorted({name for _, start in starts for name in start.variables if changes(name) == kind})
    for name in names:
        seen = set()
        expected = of_first.variables.get(name)
        for rank, start in starts[1:]:
            found = start.variables.get(name)
            if found != expected and (start.host, found) not in seen:
                seen.add((start.host, found))
                yield name, f"rank {rank} on {start.host}", found, expected, f"rank {first} on {of_first.host}"


def _shown(name: str, value: str | None) -> str:
    return f"no {name}" if value is None else f"{name}={value}"
