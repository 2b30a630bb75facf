"""Reads the lists of the environment and the table of general metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping

from expected.documents.markdown import ITEM, Line, Table
from expected.documents.model import Complaints, Place, Said, quote
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
    """One list of the environment, fed line by line: texts by key."""

    def __init__(self, kind: str, place: Place) -> None:
        self.kind = kind
        self.place = place
        self.texts: dict[str, Said] = {}
        self.complaints = Complaints()
        self._last = ""
        self._last_indent = 0
        self._open = False

    def add(self, line: Line) -> None:
        """Take over a line: a labelled item, the continuation of the item above, or a remark."""
        place, text = line.said.place, line.said.text
        if line.kind != ITEM:
            if self._open and not line.blank_before:
                self._continue(" ", text)
            elif text:
                self.complaints.note(place, f"{quote(text)} is no item of the list, and is left out")
            return
        is_inner = self._open and line.indent > self._last_indent
        label, colon, value = reading_form(text).partition(":")
        word = plain_word(label) if colon else ""
        key = LABELS[self.kind].get(word, "")
        if not key and _KEY.fullmatch(word) and not is_inner:
            key = word  # an unknown label in the form of a key is one: "python"
        if key in self.texts:
            found = f"found a second {key} in this list, expected one; see {self.texts[key].place}"
            self.complaints.error(place, found)
        elif key:
            offset = len(text) - len(value.lstrip())
            self.texts[key] = Said(text[offset:], Place(place.line, place.column + offset))
            self._last, self._last_indent, self._open = key, line.indent, True
        elif is_inner:
            self._continue("; ", text)
        else:
            self._open = False
            self.complaints.note(place, f"the label of {quote(text)} is not known, and the item is left out")

    def finish(self) -> None:
        """Drop items without content; report invisible characters."""
        for key, said in list(self.texts.items()):
            text = shown(said.text)
            if text in ("", "/"):
                del self.texts[key]
                self.complaints.note(said.place, f"{key}: nothing is stated, and it is left out")
            elif not one_line(text).isprintable():
                found = f"{key}: found {quote(text)} with invisible characters"
                self.complaints.error(said.place, found)

    def _continue(self, separator: str, text: str) -> None:
        before = self.texts[self._last]
        self.texts[self._last] = Said(before.text + separator + text if before.text else text, before.place)


@dataclass(frozen=True)
class General:
    """A table of general metrics; `model` is None unless exactly one row has it."""

    place: Place
    model: Said | None
    device: Said | None
    data_set: Said | None
    modifications: Said | None
    complaints: Complaints


def is_general(table: Table) -> bool:
    """Return whether a table has the headings of a table of general metrics."""
    names = [GENERAL_COLUMNS.get(plain_word(said.text), "") for said in table.header[:MOST_COLUMNS]]
    return "name" in names and "value" in names


def read_general(table: Table) -> General:
    """Return the contents of a table of general metrics, of whichever model."""
    complaints = Complaints()
    if table.broken:
        complaints.error(table.place, f"this table of general metrics {table.broken}")
    names = [GENERAL_COLUMNS.get(plain_word(said.text), "") for said in table.header]
    for said, name in zip(table.header, names):
        if names.count(name) > 1 and name:
            complaints.error(said.place, f"found the column {quote(said.text)} twice, expected it once")
    found: dict[str, Said] = {}
    for cells, place in zip(table.rows, table.places):
        if len(cells) != len(names):
            complaints.error(place, f"found {len(cells)} cells in this row, expected {len(names)}")
            continue
        row = dict(zip(names, cells))
        said = row["name"]
        word = plain_word(said.text)
        if word in found:
            complaints.error(said.place, f"found {quote(said.text)} again; see {found[word].place}")
        found.setdefault(word, row["value"])
        if word in COLUMN_OF:
            _check_column(COLUMN_OF[word], row, complaints)
    model, device, data_set, modifications = map(found.get, (MODEL, DEVICE, DATA_SET, MODIFICATIONS))
    return General(table.place, model, device, data_set, modifications, complaints)


def check_data_set(said: Said | None, place: Place, complaints: Complaints) -> None:
    """Complain unless the numbers are of COCO 2017."""
    expected = "expected coco2017: numbers of another data set say nothing about this benchmark"
    if said is None:
        complaints.error(place, f"found no row {DATA_SET}, {expected}")
        return
    word = plain_word(said.text)
    if word.startswith(GENERATED):
        complaints.note(said.place, f"{quote(said.text)}: the numbers are of a data set of its own")
    elif "".join(one for one in word if one.isalnum()) not in ("coco2017", "mscoco2017"):
        complaints.error(said.place, f"found {quote(said.text)}, {expected}")


def _check_column(name: str, row: Mapping[str, Said], complaints: Complaints) -> None:
    """Complain about a row that explains a column but names another one, or another unit than the metric's."""
    value = row["value"]
    first = _FIRST_WORD.match(plain_word(value.text))
    if first is not None and first.group() in COLUMNS and first.group() != name:
        found = f"found {quote(value.text)} for {quote(row['name'].text)}, expected the column {name}"
        complaints.error(value.place, found)
    unit = _UNIT.search(plain_word(row["remark"].text)) if "remark" in row else None
    if unit is not None and name in UNITS and unit.group(1) not in UNITS[name]:
        found = f"found the unit {quote(unit.group(1))} of {name}, expected {UNITS[name][0]}"
        complaints.error(row["remark"].place, found)
