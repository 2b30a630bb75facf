"""How many machines and how many cards in each: the `1x8` of a table, a file or a command line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from expected.errors import ExpectationError

_LIMIT = 9999  # four digits each: far above any machine, far below a number that is a typing accident
_FORM = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")


@dataclass(frozen=True, order=True)
class Topology:
    """`nodes` machines of `cards` cards each, one rank a card.

    Raises ExpectationError when either is not a whole number from 1 to 9999.
    """

    nodes: int
    cards: int

    def __post_init__(self) -> None:
        for name, count in (("nodes", self.nodes), ("cards", self.cards)):
            if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _LIMIT:
                raise ExpectationError(f"topology: {name}: found {count!r}, expected a whole number from 1 to {_LIMIT}")

    @property
    def ranks(self) -> int:
        """The world size: processes over all machines."""
        return self.nodes * self.cards

    def __str__(self) -> str:
        return f"{self.nodes}x{self.cards}"

    @classmethod
    def parse(cls, text: str) -> Topology:
        """The topology that `text` ("1x8") writes; ExpectationError when it is in any other form."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ExpectationError(
                f"found the topology {text!r}, expected NODESxCARDS: two whole numbers from 1 to "
                f"{_LIMIT} without leading zeros around a small x, as in 1x8 (one machine of eight cards)"
            )
        return cls(int(match.group(1)), int(match.group(2)))
