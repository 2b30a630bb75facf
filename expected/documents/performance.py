"""Reads a performance table: which column is which, and what every cell of every row says."""

from __future__ import annotations

import re
from typing import Callable, Mapping, Sequence, TypeVar

from expected.documents.markdown import Table
from expected.documents.model import Complaint, Place, Row, Said, Stated, UnreadableError, quote
from expected.documents.numbers import check_unit, read_cell
from expected.documents.rows import Default, Hyper, read_hyper, read_precision, read_topology
from expected.documents.words import COLUMN_OF, COLUMNS, MOST_COLUMNS, PRINTED_COLUMNS, plain_word
from expected.metrics import METRICS
from expected.model import PUBLISHED

_HEADING = re.compile(r"([^()]+?)(?:\(([^()]*)\))?")
_LONGEST_HEADING = 64  # characters

_Read = TypeVar("_Read")


def column_of(said: Said) -> tuple[str, str]:
    """(name, unit in small letters) of the column that a heading names; the name is "" for a column not known."""
    text = said.text if len(said.text) <= _LONGEST_HEADING else ""
    match = _HEADING.fullmatch(plain_word(text))
    if match is None:
        return "", ""
    name = COLUMN_OF.get(match[1], match[1])
    return (name, match[2] or "") if name in COLUMNS else ("", "")


def is_performance(table: Table) -> bool:
    """Whether a table's headings are those of a performance table, complete or not."""
    names = {column_of(said)[0] for said in table.header[:MOST_COLUMNS]} - {""}
    return len(names) >= 3 and bool(names & set(METRICS))


class Reader:
    """Reads tables of one device into rows, collecting what it cannot read."""

    def __init__(self, device: str, defaults: Sequence[Default]) -> None:
        self._device = device
        self._defaults = defaults
        self.rows: list[Row] = []
        self.complaints: list[Complaint] = []

    def read(self, table: Table) -> None:
        """Take over the rows of a table; complaints say which cells could not be read."""
        if table.broken:
            self._complain(table.place, f"this performance table {table.broken}")
            return
        columns, units = self._columns(table)
        if len(columns) < len(COLUMNS):
            return
        if not table.rows:
            self._complain(table.place, "found no row in this performance table, expected one for each topology")
        for cells, place in zip(table.rows, table.places):
            if len(cells) != len(table.header):
                found, word = len(cells), "short" if len(cells) < len(table.header) else "long"
                self._complain(
                    place,
                    f"the row is too {word}: found {found} cells, expected {len(table.header)}, one for each column",
                )
                continue
            self._row({name: cells[index] for name, index in columns.items()}, units, place)

    def finish(self) -> None:
        """Check what concerns several rows: the cards' capacity."""
        published = [row.metrics["mem"] for row in self.rows if row.metrics["mem"].state == PUBLISHED]
        printed = [one for one in published if one.capacity is not None]
        if not printed and published:
            self._note(published[0].said.place, "mem: no row prints a capacity, so the card's memory is not known")
            return
        for one in published:
            if one.capacity != printed[0].capacity:
                found = quote(one.said.text)
                self._complain(
                    one.said.place,
                    f"mem: found {found}, expected the capacity {printed[0].capacity!r} of line "
                    f"{printed[0].said.place.line}: the table is of one card",
                )

    def _complain(self, place: Place, message: str) -> None:
        self.complaints.append(Complaint(place, message))

    def _note(self, place: Place, message: str) -> None:
        self.complaints.append(Complaint(place, message, is_note=True))

    def _columns(self, table: Table) -> tuple[dict[str, int], dict[str, str]]:
        """Index and unit by name; fewer than all where the headings are not sound, and then that was said."""
        columns: dict[str, int] = {}
        units: dict[str, str] = {}
        sound = True
        for index, said in enumerate(table.header):
            name, unit = column_of(said)
            if not name:
                self._extra(said)
            elif name in columns:
                self._complain(said.place, f"found a second column {name}, expected one; remove one of the two")
                sound = False
            else:
                columns[name], units[name] = index, unit
                sound = self._unit_is_right(name, unit, said) and sound
        missing = [PRINTED_COLUMNS[COLUMNS.index(name)] for name in COLUMNS if name not in columns]
        if missing:
            self._complain(table.place, f"found no column {', '.join(missing)}, expected {', '.join(PRINTED_COLUMNS)}")
        return (columns, units) if sound else ({}, {})

    def _unit_is_right(self, name: str, unit: str, said: Said) -> bool:
        try:
            if name in METRICS:
                check_unit(name, unit)
            elif unit:
                raise UnreadableError(f"{name}: found {quote(said.text)}, expected the name alone")
        except UnreadableError as error:
            self._complain(said.place, str(error))
            return False
        return True

    def _extra(self, said: Said) -> None:
        self._note(
            said.place, f"the column {quote(said.text)} is none of {', '.join(PRINTED_COLUMNS)}, and is left out"
        )

    def _row(self, cells: Mapping[str, Said], units: Mapping[str, str], place: Place) -> None:
        before = len(self.complaints)
        metrics = {name: self._stated(name, cells[name], units[name]) for name in METRICS}
        topology = self._try(cells["topology"], lambda: read_topology(cells["topology"], self._device))
        precision = self._try(cells["precision"], lambda: read_precision(cells["precision"]))
        hyper = self._try(cells["fix_hp"], lambda: read_hyper(cells["fix_hp"].text))
        if topology is None or precision is None or hyper is None:
            return
        default = self._default(topology, hyper, cells["fix_hp"])
        if default is None or any(not one.is_note for one in self.complaints[before:]):
            return
        read = {name: stated for name, stated in metrics.items() if stated is not None}
        row = Row(
            place,
            topology,
            precision,
            hyper.batch_size or default.batch_size or 0,
            hyper.learning_rate or default.learning_rate or 0.0,
            cells["fix_hp"],
            None in (hyper.batch_size, hyper.learning_rate),
            read,
        )
        if self._is_new(row) and self._is_in_order(row):
            self.rows.append(row)

    def _stated(self, name: str, said: Said, unit: str) -> Stated | None:
        try:
            stated, remark = read_cell(name, said, unit)
        except UnreadableError as error:
            self._complain(said.place, str(error))
            return None
        if remark:
            self._note(said.place, remark)
        return stated

    def _try(self, said: Said, read: Callable[[], _Read]) -> _Read | None:
        try:
            return read()
        except UnreadableError as error:
            self._complain(said.place, str(error))
            return None

    def _default(self, topology: object, hyper: Hyper, said: Said) -> Hyper | None:
        """What stands in for hyper-parameters that the cell does not give; None where nothing can."""
        if None not in (hyper.batch_size, hyper.learning_rate):
            return hyper
        own = [one.hyper for one in self._defaults if one.topology == topology]
        known = own or [one.hyper for one in self._defaults if one.topology is None]
        lacking = "both" if hyper == Hyper(None, None) else "bs" if hyper.batch_size is None else "lr"
        if not known:
            self._complain(
                said.place,
                f"fix_hp: found {quote(said.text)}, expected bs and lr, as in bs=16,lr=0.16; the vendor's "
                f"configuration has them, and --default-hp {topology}:bs=...,lr=... gives them ({lacking} missing)",
            )
            return None
        self._note(said.place, f"fix_hp: found {quote(said.text)}; {lacking} taken from --default-hp")
        return known[-1]

    def _is_new(self, row: Row) -> bool:
        for other in self.rows:
            if (other.topology, other.precision, other.batch_size) == (row.topology, row.precision, row.batch_size):
                difference = "" if other.learning_rate == row.learning_rate else ", which differs in lr alone"
                self._complain(
                    row.place,
                    f"found {row.name} again, first in line {other.place.line}{difference}; a device file has one row "
                    "for a topology, precision and batch size",
                )
                return False
        return True

    def _is_in_order(self, row: Row) -> bool:
        known = [(name, row.metrics[name]) for name in ("p_whole", "p_train", "p_core")]
        rates = [(name, one, one.value) for name, one in known if one.value is not None]
        for (slower, _, low), (faster, stated, high) in zip(rates, rates[1:]):
            if low > high:
                self._complain(
                    stated.said.place,
                    f"{faster}: found {quote(stated.said.text)}, below {slower}; p_core >= p_train >= p_whole holds by "
                    "definition, so look for swapped columns",
                )
                return False
        return True
