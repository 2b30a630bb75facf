"""Reads the lists of the environment and the table of general metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Mapping

from expected.documents.markdown import ITEM, Line, Table
from expected.documents.model import Complaint, Place, Said, quote
from expected.documents.quoting import one_line, reading_form, shown
from expected.documents.words import (
    COLUMN_OF,
    COLUMNS,
    DATA_SET,
    DEVICE,
    GENERAL_COLUMNS,
    GENERATED,
    LABELS,
    MODEL,
    MODIFICATIONS,
    MOST_COLUMNS,
    UNITS,
    plain_word,
)

_FIRST_WORD = re.compile("[a-z0-9_]+")
_KEY = re.compile("[a-z][a-z0-9_]*")
_UNIT = re.compile(r"单位为\s*([a-z/]+)")


class Section:
    """One list of the environment, as its lines come: texts by key."""

    def __init__(self, kind: str, place: Place) -> None:
        self.kind = kind
        self.place = place
        self.texts: dict[str, Said] = {}
        self.complaints: list[Complaint] = []
        self._last = ""
        self._last_indent = 0
        self._open = False

    def add(self, line: Line) -> None:
        """Take over a line: an item with a label, something that belongs to the item above, or a remark."""
        if line.kind != ITEM:
            if self._open and not line.blank_before:
                self._continue(" ", line.said)
            elif line.said.text:
                self._note(line.said.place, f"{quote(line.said.text)} is no item of the list, and is left out")
            return
        label, colon, value = reading_form(line.said.text).partition(":")
        word = plain_word(label) if colon else ""
        key = LABELS[self.kind].get(word, "")
        if not key and _KEY.fullmatch(word) and not (self._open and line.indent > self._last_indent):
            key = word  # a label that could be a key is one: "python"
        if key:
            self._new(key, line, value)
        elif self._open and line.indent > self._last_indent:
            self._continue("; ", line.said)
        else:
            self._open = False
            self._note(line.said.place, f"the label of {quote(line.said.text)} is not known, and the item is left out")

    def finish(self) -> None:
        """Leave out what states nothing."""
        for key, said in list(self.texts.items()):
            if shown(said.text) in ("", "/"):
                del self.texts[key]
                self._note(said.place, f"{key}: nothing is stated, and it is left out")
            elif any(not one.isprintable() for one in one_line(shown(said.text))):
                self.complaints.append(
                    Complaint(said.place, f"{key}: found {quote(shown(said.text))} with characters that nobody can see")
                )

    def _new(self, key: str, line: Line, value: str) -> None:
        text = line.said.text
        offset = len(text) - len(value)
        offset += len(text[offset:]) - len(text[offset:].lstrip())
        said = Said(text[offset:], Place(line.said.place.line, line.said.place.column + offset))
        if key in self.texts:
            self.complaints.append(
                Complaint(
                    line.said.place, f"found a second {key} in this list, expected one; see {self.texts[key].place}"
                )
            )
            return
        self.texts[key] = said
        self._last, self._last_indent, self._open = key, line.indent, True

    def _continue(self, separator: str, said: Said) -> None:
        before = self.texts[self._last]
        self.texts[self._last] = Said(before.text + separator + said.text if before.text else said.text, before.place)

    def _note(self, place: Place, message: str) -> None:
        self.complaints.append(Complaint(place, message, is_note=True))


@dataclass(frozen=True)
class General:
    """A table of general metrics: `model` says whose it is, None where no row or more than one does."""

    place: Place
    model: Said | None
    device: Said | None
    data_set: Said | None
    modifications: Said | None
    complaints: tuple[Complaint, ...] = field(default=())


def is_general(table: Table) -> bool:
    """Whether a table's headings are those of a table of general metrics."""
    names = [GENERAL_COLUMNS.get(plain_word(said.text), "") for said in table.header[:MOST_COLUMNS]]
    return "name" in names and "value" in names


def read_general(table: Table) -> General:
    """What a table of general metrics says; complaints concern it as a whole, whichever model it is of."""
    complaints: list[Complaint] = []
    if table.broken:
        complaints.append(Complaint(table.place, f"this table of general metrics {table.broken}"))
    names = [GENERAL_COLUMNS.get(plain_word(said.text), "") for said in table.header]
    for said, name in zip(table.header, names):
        if names.count(name) > 1 and name:
            complaints.append(Complaint(said.place, f"found the column {quote(said.text)} twice, expected it once"))
    found: dict[str, Said] = {}
    for cells, place in zip(table.rows, table.places):
        if len(cells) != len(names):
            complaints.append(Complaint(place, f"found {len(cells)} cells in this row, expected {len(names)}"))
            continue
        row = dict(zip(names, cells))
        word = plain_word(row["name"].text)
        if word in found:
            complaints.append(
                Complaint(row["name"].place, f"found {quote(row['name'].text)} again; see {found[word].place}")
            )
        found.setdefault(word, row["value"])
        complaints += _of_column(word, row)
    return General(
        table.place,
        found.get(MODEL),
        found.get(DEVICE),
        found.get(DATA_SET),
        found.get(MODIFICATIONS),
        tuple(complaints),
    )


def check_data_set(said: Said | None, place: Place) -> list[Complaint]:
    """Complaints about the data set that the numbers are of, which has to be COCO 2017."""
    expected = "expected coco2017: numbers of another data set say nothing about this benchmark"
    if said is None:
        return [Complaint(place, f"found no row {DATA_SET}, {expected}")]
    word = plain_word(said.text)
    if word.startswith(GENERATED):
        return [Complaint(said.place, f"{quote(said.text)}: the numbers are of a data set of its own", is_note=True)]
    bare = "".join(one for one in word if one.isalnum())
    return (
        [] if bare in ("coco2017", "mscoco2017") else [Complaint(said.place, f"found {quote(said.text)}, {expected}")]
    )


def _of_column(word: str, row: Mapping[str, Said]) -> list[Complaint]:
    """Complaints about a row that explains a column: another column's name, or another unit than the metric's."""
    name = COLUMN_OF.get(word)
    if name is None:
        return []
    complaints = []
    first = _FIRST_WORD.match(plain_word(row["value"].text))
    if first is not None and first.group() in COLUMNS and first.group() != name:
        message = f"found {quote(row['value'].text)} for {quote(row['name'].text)}, expected the column {name}"
        complaints.append(Complaint(row["value"].place, message))
    unit = _UNIT.search(plain_word(row["remark"].text)) if "remark" in row else None
    if unit is not None and name in UNITS and unit.group(1) not in UNITS[name]:
        message = f"found the unit {quote(unit.group(1))} of {name}, expected {UNITS[name][0]}"
        complaints.append(Complaint(row["remark"].place, message))
    return complaints
