"""Reads a performance table: assigns its columns, and checks every cell of every row."""

from __future__ import annotations

import re
from typing import Callable, Mapping, Sequence, TypeVar

from expected.documents.cells import (
    Default,
    Hyper,
    check_unit,
    read_cell,
    read_hyper,
    read_precision,
    same_unit,
)
from expected.documents.markdown import Table
from expected.documents.model import Complaints, Place, Row, Said, Stated, UnreadableError, quote
from expected.documents.names import OtherDeviceError, read_topology
from expected.documents.plausible import Limits
from expected.documents.quoting import one_line, restriction_in, shown
from expected.documents.words import COLUMN_OF, COLUMNS, MOST_COLUMNS, PRINTED_COLUMNS, plain_word
from expected.metrics import METRICS
from expected.model import PUBLISHED, Topology

_HEADING = re.compile(r"([^()]+?)(?:\(([^()]*)\))?")
_LONGEST_HEADING = 64  # characters
_NUMBERS = re.compile(r"[-\s0-9.,%％/~]*")

_Read = TypeVar("_Read")


def is_performance(table: Table) -> bool:
    """Return whether a table has headings of a performance table, complete or not."""
    names = {_column_of(said)[0] for said in table.header[:MOST_COLUMNS]} - {""}
    return len(names) >= 3 and bool(names & set(METRICS))


class Reader:
    """Reads the tables of one device into rows, and collects what it cannot read.

    `units` are those that the general metrics state of a column, `around` other texts about the device, and `limits`
    what its numbers can be at most; None for numbers of another data set.
    """

    def __init__(
        self,
        device: str,
        defaults: Sequence[Default],
        units: Mapping[str, str] | None = None,
        around: str = "",
        limits: Limits | None = None,
    ) -> None:
        self._device = device
        self._defaults = defaults
        self._units = dict(units or {})
        self._around = around
        self._limits = limits
        self._named: list[tuple[Place, OtherDeviceError]] = []  # rows of another device
        self._own = 0  # rows of this one, or of any
        self.rows: list[Row] = []
        self.complaints = Complaints()

    def read(self, table: Table) -> None:
        """Take over the rows of a table."""
        if table.broken:
            self.complaints.error(table.place, f"this performance table {table.broken}")
            return
        columns, units = self._columns(table)
        if len(columns) < len(COLUMNS):
            return
        if not table.rows:
            found = "found no row in this performance table, expected one for each topology"
            self.complaints.error(table.place, found)
        for cells, place in zip(table.rows, table.places):
            if len(cells) == len(table.header):
                others = [(said, cells[at]) for at, said in enumerate(table.header) if at not in columns.values()]
                self._row({name: cells[index] for name, index in columns.items()}, units, place, others)
                continue
            word = "short" if len(cells) < len(table.header) else "long"
            found = f"found {len(cells)} cells, expected {len(table.header)}, one for each column"
            self.complaints.error(place, f"the row is too {word}: {found}")

    def finish(self) -> None:
        """Check what all rows have in common: the device's name, and its capacity."""
        self._complain_of_names()
        published = [row.metrics["mem"] for row in self.rows if row.metrics["mem"].state == PUBLISHED]
        printed = [one for one in published if one.capacity is not None]
        if not printed and published:
            found = "mem: no row prints a capacity, so the device's memory is not known"
            self.complaints.note(published[0].said.place, found)
            return
        for one in published:
            if one.capacity != printed[0].capacity:
                self.complaints.error(
                    one.said.place,
                    f"mem: found {quote(one.said.text)}, expected the capacity {printed[0].capacity!r} of line "
                    f"{printed[0].said.place.line}: the table is of one device",
                )

    @property
    def is_of_another_device(self) -> bool:
        """Whether every row that was read names another device."""
        return bool(self._named) and not self._own

    def _complain_of_names(self) -> None:
        """Complain about each row of another device; once, if all rows name the same one."""
        names = {error.named.casefold() for _, error in self._named}
        if len(names) == 1 and not self._own:
            place, error = self._named[0]
            hint = f"all rows name {quote(error.named)}: if that is the device, give it with --name"
            self.complaints.error(place, f"{error}; {hint}")
            return
        for place, error in self._named:
            self.complaints.error(place, str(error))

    def _columns(self, table: Table) -> tuple[dict[str, int], dict[str, str]]:
        """Return index and unit by column name; not all of them if the headings have an error."""
        columns: dict[str, int] = {}
        units: dict[str, str] = {}
        before = len(self._errors)
        for index, said in enumerate(table.header):
            name, unit = _column_of(said)
            if not name:
                known = ", ".join(PRINTED_COLUMNS)
                found = f"the column {quote(said.text)} is none of {known}, and is left out"
                self.complaints.note(said.place, found)
            elif name in columns:
                found = f"found a second column {name}, expected one; remove one of the two"
                self.complaints.error(said.place, found)
            else:
                columns[name], units[name] = index, unit or self._units.get(name, "")
                self._try(said, _check_heading, name, unit, self._units.get(name, ""), said)
        has_errors = len(self._errors) > before
        missing = [printed for name, printed in zip(COLUMNS, PRINTED_COLUMNS) if name not in columns]
        if missing:
            found = f"found no column {', '.join(missing)}, expected {', '.join(PRINTED_COLUMNS)}"
            self.complaints.error(table.place, found)
        return ({}, {}) if has_errors else (columns, units)

    @property
    def _errors(self) -> list[object]:
        return [one for one in self.complaints if not one.is_note]

    def _row(
        self, cells: Mapping[str, Said], units: Mapping[str, str], place: Place, others: Sequence[tuple[Said, Said]]
    ) -> None:
        before = len(self._errors)
        topo, fix_hp = cells["topology"], cells["fix_hp"]
        metrics = {name: self._try(cells[name], self._stated, name, cells[name], units[name]) for name in METRICS}
        topology = self._topology(topo)
        remarks = tuple(filter(None, (self._try(said, _remark, heading, said) for heading, said in others)))
        precision = self._try(cells["precision"], read_precision, cells["precision"])
        hyper = self._try(fix_hp, read_hyper, fix_hp.text)
        if topology is None or precision is None or hyper is None:
            return
        default = self._default(topology, hyper, fix_hp)
        if default is None or len(self._errors) > before:
            return
        row = Row(
            place,
            topology,
            precision,
            hyper.batch_size or default.batch_size or 0,
            hyper.learning_rate or default.learning_rate or 0.0,
            fix_hp,
            None in (hyper.batch_size, hyper.learning_rate),
            {name: stated for name, stated in metrics.items() if stated is not None},
            remarks,
        )
        if self._is_new(row) and self._is_in_order(row) and self._is_plausible(row):
            self.rows.append(row)

    def _topology(self, said: Said) -> Topology | None:
        try:
            topology = read_topology(said, self._device, self._around)
        except OtherDeviceError as error:
            self._named.append((said.place, error))
            return None
        except UnreadableError as error:
            self.complaints.error(said.place, str(error))
            topology = None
        self._own += 1
        return topology

    def _try(self, said: Said, read: Callable[..., _Read], *arguments: object) -> _Read | None:
        """Return what `read` returns; None, and a complaint, if it raises UnreadableError."""
        try:
            return read(*arguments)
        except UnreadableError as error:
            self.complaints.error(said.place, str(error))
            return None

    def _stated(self, name: str, said: Said, unit: str) -> Stated:
        stated, remark = read_cell(name, said, unit)
        if remark:
            self.complaints.note(said.place, remark)
        return stated

    def _default(self, topology: Topology, hyper: Hyper, said: Said) -> Hyper | None:
        """Return the defaults for hyper-parameters that the cell leaves out; None if there are none."""
        if None not in (hyper.batch_size, hyper.learning_rate):
            return hyper
        own = [one for one in self._defaults if one.topology == topology]
        known = own or [one for one in self._defaults if one.topology is None]
        lacking = "both" if hyper == Hyper(None, None) else "bs" if hyper.batch_size is None else "lr"
        if known:
            found = f"fix_hp: found {quote(said.text)}; {lacking} taken from {known[-1].origin}"
            self.complaints.note(said.place, found)
            return known[-1].hyper
        self.complaints.error(
            said.place,
            f"fix_hp: found {quote(said.text)}, expected bs and lr, as in bs=16,lr=0.16; the vendor's "
            f"configuration has them, and --default-hp {topology}:bs=...,lr=... gives them ({lacking} missing)",
        )
        return None

    def _is_new(self, row: Row) -> bool:
        for other in self.rows:
            if (other.topology, other.precision, other.batch_size) == (row.topology, row.precision, row.batch_size):
                difference = "" if other.learning_rate == row.learning_rate else ", which differs in lr alone"
                self.complaints.error(
                    row.place,
                    f"found {row.name} again, first in line {other.place.line}{difference}; a device file has one row "
                    "for a topology, precision and batch size",
                )
                return False
        return True

    def _is_in_order(self, row: Row) -> bool:
        rates = [(name, row.metrics[name]) for name in ("p_whole", "p_train", "p_core")]
        published = [(name, one.said, one.value) for name, one in rates if one.value is not None]
        for (slower, _, low), (faster, said, high) in zip(published, published[1:]):
            if low > high:
                self.complaints.error(
                    said.place,
                    f"{faster}: found {quote(said.text)}, below {slower}; p_core >= p_train >= p_whole holds by "
                    "definition, so look for swapped columns",
                )
                return False
        return True

    def _is_plausible(self, row: Row) -> bool:
        found = None if self._limits is None else self._limits.violation(row)
        if found is not None:
            name, why = found
            said = row.metrics[name].said
            self.complaints.error(said.place, f"{name}: found {quote(said.text)}, {why}")
        return found is None


def _remark(heading: Said, said: Said) -> str:
    """Return a text below an unknown heading, with that; "" for numbers. Raises UnreadableError for a restriction."""
    name, text = one_line(shown(heading.text)), one_line(shown(said.text))
    found = restriction_in(said.text)
    if found:
        raise UnreadableError(f"{name}: found {quote(said.text)}; {quote(found)} restricts the row, and is not read")
    return "" if _NUMBERS.fullmatch(text) else f"{name}: {text}"


def _column_of(said: Said) -> tuple[str, str]:
    """Return (name, unit in lower case) of the column that a heading names; ("", "") for an unknown one."""
    text = said.text if len(said.text) <= _LONGEST_HEADING else ""
    match = _HEADING.fullmatch(plain_word(text))
    if match is None:
        return "", ""
    name = COLUMN_OF.get(match[1], match[1])
    return (name, match[2] or "") if name in COLUMNS else ("", "")


def _check_heading(name: str, unit: str, stated: str, said: Said) -> None:
    """Refuse an unknown unit, one that the general metrics contradict (`stated`), and any of another column.

    Raises UnreadableError.
    """
    if name in METRICS:
        check_unit(name, unit)
        if unit and stated and not same_unit(name, unit, stated):
            raise UnreadableError(f"{name}: found the unit {quote(unit)}, but the general metrics say {quote(stated)}")
    elif unit:
        raise UnreadableError(f"{name}: found {quote(said.text)}, expected the name alone")
