"""The list of mutants fits the modules: an entry that does not apply any more would prove nothing."""

from __future__ import annotations

import ast
from functools import lru_cache

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.mutants import MUTANTS
from tests.mutants.run import FITTING, ROOT

DATA_ONLY = {"__init__", "accept_command", "case", "errors", "measurement"}
"""Modules of verdict/ in which nothing is decided."""


def source_of(module: str) -> str:
    return (ROOT / "verdict" / f"{module}.py").read_text(encoding="utf-8")


@lru_cache(maxsize=2)
def program_of(source: str) -> str:
    return ast.dump(ast.parse(source))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.module}-{mutant.lets_through}")
def test_a_mutant_still_applies_and_is_another_program(mutant: Mutant) -> None:
    before = source_of(mutant.module)

    after = mutant.applied(before)

    assert program_of(after) != program_of(before)
    assert mutant.lets_through


def test_no_mutant_comes_twice() -> None:
    assert len({mutant[:3] for mutant in MUTANTS}) == len(MUTANTS)


def test_every_module_that_decides_something_has_mutants() -> None:
    modules = {path.stem for path in (ROOT / "verdict").glob("*.py")}

    assert {mutant.module for mutant in MUTANTS} == modules - DATA_ONLY


def test_every_module_has_tests_that_are_asked_first() -> None:
    assert set(FITTING) == {mutant.module for mutant in MUTANTS}
    for name in {name for names in FITTING.values() for name in names}:
        assert (ROOT / "tests" / "verdict" / f"test_{name}.py").is_file(), name


@pytest.mark.parametrize("text", ["nowhere to be found", "import"])
def test_an_entry_that_fits_nowhere_or_twice_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"verdict/seal.py: found '{text}' [0-9]+ times, expected it once"):
        Mutant("seal", text, "x", "nothing").applied(source_of("seal"))
