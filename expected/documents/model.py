"""The contents of a vendor's document, each with its line and column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Mapping

from evidence.errors import SuiteError
from expected.model import Topology


class DocumentError(SuiteError):
    """A document that cannot be read, or of which no device file can be made; the message names line and column."""


class UnreadableError(SuiteError):
    """A cell that cannot be read with certainty; the message has what was found and what was expected."""


@dataclass(frozen=True, order=True)
class Place:
    """Line and column, both from 1; a column is a character, however wide it is shown."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True)
class Said:
    """A piece of the document, stripped."""

    text: str
    place: Place


@dataclass(frozen=True)
class Complaint:
    """Something that could not be read. With `is_note`, nothing that belongs in a device file was lost or in doubt."""

    place: Place
    message: str
    is_note: bool = False

    def line(self, name: str) -> str:
        """Return the complaint as it is printed: "README.md:51:66: ..."."""
        return f"{name}:{self.place}: {'note: ' if self.is_note else ''}{self.message}"


class Complaints(List[Complaint]):
    """The complaints about a document, in the order in which they were found."""

    def error(self, place: Place, message: str) -> None:
        """Add an error: the document has to be corrected first."""
        self.append(Complaint(place, message))

    def note(self, place: Place, message: str) -> None:
        """Add a note."""
        self.append(Complaint(place, message, is_note=True))


@dataclass(frozen=True)
class Stated:
    """The content of a cell of the performance table, in the metric's unit; `state` as in an Expectation."""

    state: str
    value: float | None
    capacity: float | None
    said: Said


@dataclass(frozen=True)
class Row:
    """A row of the performance table; `hyper` is its fix_hp cell, `given` whether --default-hp completes it.

    `remarks` are its texts below headings that no device file has: "备注: 2 h of warm-up".
    """

    place: Place
    topology: Topology
    precision: str
    batch_size: int
    learning_rate: float
    hyper: Said
    given: bool
    metrics: Mapping[str, Stated] = field(hash=False)
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The row for messages: "1x8 fp32 bs=16 lr=0.16"."""
        return f"{self.topology} {self.precision} bs={self.batch_size} lr={self.learning_rate!r}"


@dataclass(frozen=True)
class Document:
    """A document's section on one device and this benchmark.

    `environment` has the texts of the two lists by key, under "hardware" and "software"; `sections` where each list and
    the performance table begin. `device` is the short name, vendor first; None if it is missing. `named` is the name
    that was given because all rows contradict it, "" for none. `in_step`: the document says that its p_core is
    synchronised with the device. `sentences` stand around the tables, or explain them, and are in no other field.
    """

    name: str
    device: Said | None
    environment: Mapping[str, Mapping[str, Said]] = field(hash=False)
    sections: Mapping[str, Place] = field(hash=False)
    modifications: Said | None
    rows: tuple[Row, ...]
    complaints: tuple[Complaint, ...]
    named: str = ""
    in_step: bool = False
    sentences: tuple[Said, ...] = ()

    @property
    def errors(self) -> tuple[Complaint, ...]:
        """Complaints that prevent a device file."""
        return tuple(one for one in self.complaints if not one.is_note)

    @property
    def notes(self) -> tuple[Complaint, ...]:
        """Complaints that do not."""
        return tuple(one for one in self.complaints if one.is_note)

    def place(self, section: str) -> Place:
        """Return where a section begins; the top of the document if it is missing."""
        return self.sections.get(section, Place(1, 1))


def quote(text: str) -> str:
    """Return `text` for a message: in quotes, on one line, at most 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
