"""What a vendor's document states, with the places where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping

from evidence.errors import SuiteError
from expected.topology import Topology


class DocumentError(SuiteError):
    """A document that cannot be read, or of which no device file can be made; the message names line and column."""


class UnreadableError(SuiteError):
    """A cell that cannot be read with certainty; the message says what was found and what was expected."""


@dataclass(frozen=True, order=True)
class Place:
    """Line and column, both from 1; a column is a character, however wide it is shown."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True)
class Said:
    """A piece of the document as it stands there, spaces at its ends aside."""

    text: str
    place: Place


@dataclass(frozen=True)
class Complaint:
    """What could not be read; a note is no obstacle: nothing that belongs in a device file was lost or in doubt."""

    place: Place
    message: str
    is_note: bool = False

    def line(self, name: str) -> str:
        """The complaint as it is printed: "README.md:51:66: ..."."""
        return f"{name}:{self.place}: {'note: ' if self.is_note else ''}{self.message}"


@dataclass(frozen=True)
class Stated:
    """What a cell of the performance table says about a metric, in the metric's unit; states as in an Expectation."""

    state: str
    value: float | None
    capacity: float | None
    said: Said


@dataclass(frozen=True)
class Row:
    """A row of the performance table; `hyper` is its fix_hp cell, `given` whether a default stands in for it."""

    place: Place
    topology: Topology
    precision: str
    batch_size: int
    learning_rate: float
    hyper: Said
    given: bool
    metrics: Mapping[str, Stated] = field(hash=False)

    @property
    def name(self) -> str:
        """The row in words: "1x8 fp32 bs=16 lr=0.16"."""
        return f"{self.topology} {self.precision} bs={self.batch_size} lr={self.learning_rate!r}"


@dataclass(frozen=True)
class Document:
    """What a document says of one device on this benchmark.

    `environment` has the texts of the two lists by key, under "hardware" and "software"; `sections` where each list
    begins, and the performance table. `device` is the short name, vendor first; None where it is not given.
    """

    name: str
    device: Said | None
    environment: Mapping[str, Mapping[str, Said]] = field(hash=False)
    sections: Mapping[str, Place] = field(hash=False)
    modifications: Said | None
    rows: tuple[Row, ...]
    complaints: tuple[Complaint, ...]

    @property
    def errors(self) -> tuple[Complaint, ...]:
        """What has to be put right before anything can be made of the document."""
        return tuple(one for one in self.complaints if not one.is_note)

    @property
    def notes(self) -> tuple[Complaint, ...]:
        """What somebody should know who takes the document over."""
        return tuple(one for one in self.complaints if one.is_note)

    def place(self, section: str) -> Place:
        """Where a section begins; the top of the document where it has none."""
        return self.sections.get(section, Place(1, 1))


def quote(text: str) -> str:
    """`text` in quotes on one line, shortened: for messages."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
