"""One deliberate fault in a module of verdict/."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """`text`, which occurs once in verdict/<module>.py, becomes `replacement`; `lets_through` says what that costs."""

    module: str
    text: str
    replacement: str
    lets_through: str

    def applied(self, source: str) -> str:
        """The module with the fault in it. Raises ValueError where the entry does not fit the source any more."""
        found = source.count(self.text)
        if found != 1:
            raise ValueError(
                f"verdict/{self.module}.py: found {self.text!r} {found} times, expected it once: correct the entry of "
                "tests/mutants"
            )
        return source.replace(self.text, self.replacement)


def mutants_of(module: str, *entries: tuple[str, str, str]) -> tuple[Mutant, ...]:
    """Mutants of one module, each given as (text, replacement, what it lets through)."""
    return tuple(Mutant(module, *entry) for entry in entries)
