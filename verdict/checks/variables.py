"""Checks of the environment variables of the ranks: the same arithmetic on all of them, and that of the row."""

from __future__ import annotations

from typing import Iterator

from evidence.events import RankEvidence
from evidence.variables.declared import ARITHMETIC, SPEED, changes, lowering
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
    recipe, found = case.cell.recipe, rank.start.variables
    declared = dict(one.split("=", 1) for one in recipe.lowered)
    for name, value in sorted(found.items()):
        known = lowering(name, value)
        if known is None or name in declared or (known.is_tf32 and recipe.tf32):
            continue
        remedy = f'lowered = {{ {name} = "{value}" }}' + (" or tf32 = true" if known.is_tf32 else "")
        yield (
            f"found {name}={value}, by which {known.what}, expected a variable that {case.cell.id} declares; unset it, "
            f"or declare it in a row of its own ([recipe] {remedy})"
        )
    for name, value in declared.items():
        if found.get(name, "") != value:
            known_by = f"{name}={value}, which {case.cell.id} was published with"
            yield f"found {_shown(name, found.get(name))}, expected {known_by}"


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
