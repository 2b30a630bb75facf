"""Reads a document: finds the one section that is about this benchmark, and what it states of the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Sequence

from expected.documents.general import General, Section, check_data_set, is_general, read_general
from expected.documents.markdown import HEADING, TEXT, Line, Table, split
from expected.documents.model import Complaint, Document, DocumentError, Place, Said, quote
from expected.documents.performance import Reader, is_performance
from expected.documents.quoting import one_line, shown, visible
from expected.documents.rows import Default
from expected.documents.words import DEVICE, GENERAL, HARDWARE, MODEL, PERFORMANCE, SOFTWARE, is_this_model, title_of

LARGEST_BYTES = 4 << 20
"""No README is longer."""

_LISTS = (HARDWARE, SOFTWARE)
_WHOLE = "`python -m reports table --document` prints a whole section"


@dataclass
class _Group:
    """A table of general metrics and the performance tables below it, with the lines that stand between them."""

    general: General
    lists: dict[str, Section]
    twice: list[Section]
    tables: list[tuple[Table, list[Line]]] = field(default_factory=list)
    loose: list[tuple[Place, Place]] = field(default_factory=list)  # rows, and the table that they stand apart from


def read_document_file(path: str | Path, defaults: Sequence[Default] = ()) -> Document:
    """What the document at `path` states; DocumentError for one that is no text in UTF-8, or far too long."""
    path = Path(path)
    name = visible(path.name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{visible(str(path))}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DocumentError(f"{visible(str(path))}: cannot be read: {error}") from error
    if len(data) > LARGEST_BYTES:
        raise DocumentError(f"{name}: found {len(data)} bytes, expected a README of at most {LARGEST_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8", "replace")) + 1
        raise DocumentError(
            f"{name}:{line}:{column}: found the byte 0x{data[error.start]:02x}, expected UTF-8; save it so"
        ) from error
    return read_document(text, name, defaults)


def read_document(text: str, name: str = "document", defaults: Sequence[Default] = ()) -> Document:
    """What a document states; whatever cannot be read with certainty is among its complaints, and never raised."""
    finder = _Finder()
    for block in split(text):
        if isinstance(block, Table):
            finder.table(block)
        else:
            finder.line(block)
    return _document(finder, name, defaults)


class _Finder:
    """Goes through a document's blocks and sorts them into groups."""

    def __init__(self) -> None:
        self.groups: list[_Group] = []
        self.complaints: list[Complaint] = []
        self._lists: dict[str, Section] = {}
        self._fresh: set[str] = set()  # kinds of list since the last table of general metrics
        self._twice: list[Section] = []
        self._current: Section | None = None
        self._between: list[Line] = []
        self._last: Table | None = None  # of either kind, until a heading comes

    def line(self, line: Line) -> None:
        title = title_of(line.said.text)
        if title in _LISTS:
            section = Section(title, line.said.place)
            if title in self._fresh:
                self._twice.append(section)
            self._fresh.add(title)
            self._lists[title] = self._current = section
        elif title or line.kind == HEADING:
            self._current = self._last = None
        elif self._current is not None:
            self._current.add(line)
        self._between.append(line)

    def table(self, table: Table) -> None:
        if table.broken and not is_general(table) and not is_performance(table):
            if self.groups and self._last is not None and len(self._last.header) == len(table.header):
                self.groups[-1].loose.append((table.place, self._last.place))
            self.line(Line(TEXT, table.header[0], 0, blank_before=True))
            return
        self._current = None
        self._last = table if is_general(table) or is_performance(table) else None
        if is_general(table):
            general = read_general(table)
            self.groups.append(_Group(general, dict(self._lists), list(self._twice)))
            # The lists hold for the tables that follow until there are others, which repeat nothing then.
            self._fresh, self._twice, self._between = set(), [], []
        elif is_performance(table):
            if self.groups:
                self.groups[-1].tables.append((table, self._between))
                self._between = []
            else:
                self.complaints.append(
                    Complaint(
                        table.place,
                        "a performance table stands before any table 通用指标, so whose it is is not known: not read",
                        is_note=True,
                    )
                )


def _document(finder: _Finder, name: str, defaults: Sequence[Default]) -> Document:
    complaints = list(finder.complaints)
    mine = [one for one in finder.groups if one.general.model is not None and is_this_model(one.general.model.text)]
    for group in finder.groups:
        if group not in mine:
            complaints += _of_others(group)
    if len(mine) != 1:
        complaints.append(_no_group(mine))
        return Document(name, None, {}, {}, None, (), tuple(sorted(complaints, key=lambda one: one.place)))
    (group,) = mine
    general = group.general
    complaints += [*general.complaints, *check_data_set(general.data_set, general.place)]
    device = _device(general, complaints)
    environment, sections = _environment(group, complaints)
    reader = Reader("" if device is None else shown(device.text), defaults)
    for place, table_place in group.loose:
        message = f"these rows stand apart from the table in line {table_place.line}; remove what is between them"
        complaints.append(Complaint(place, message))
    for table in _tables(group, complaints):
        sections.setdefault(PERFORMANCE, table.place)
        reader.read(table)
    reader.finish()
    if not group.tables:
        complaints.append(
            Complaint(general.place, "found no performance table (性能指标) below this table, expected one")
        )
    complaints += reader.complaints
    return Document(
        name=name,
        device=device,
        environment=environment,
        sections={**sections, GENERAL: general.place},
        modifications=general.modifications,
        rows=tuple(reader.rows),
        complaints=tuple(sorted(complaints, key=lambda one: one.place)),
    )


def _no_group(mine: Sequence[_Group]) -> Complaint:
    if mine:
        first = mine[0].general.place
        return Complaint(
            mine[1].general.place,
            f"found a second table 通用指标 of fasterRCNN, the first in line {first.line}, expected one",
        )
    return Complaint(
        Place(1, 1), f"found no table 通用指标 with a row {MODEL} that names fasterRCNN, expected one; {_WHOLE}"
    )


def _of_others(group: _Group) -> list[Complaint]:
    model = group.general.model
    whose = "whose model is not given" if model is None else f"of the model {quote(shown(model.text))}"
    places = [group.general.place, *(table.place for table, _ in group.tables)]
    return [Complaint(place, f"a table {whose} is not read", is_note=True) for place in places]


def _device(general: General, complaints: list[Complaint]) -> Said | None:
    said = general.device
    if said is None or not shown(said.text).strip():
        complaints.append(
            Complaint(general.place if said is None else said.place, f"found no {DEVICE}, expected a name")
        )
        return None
    if any(not one.isprintable() for one in one_line(shown(said.text))):
        complaints.append(
            Complaint(said.place, f"{DEVICE}: found {quote(shown(said.text))} with characters that nobody can see")
        )
    return said


def _environment(group: _Group, complaints: list[Complaint]) -> tuple[dict[str, dict[str, Said]], dict[str, Place]]:
    environment: dict[str, dict[str, Said]] = {}
    sections: dict[str, Place] = {}
    for kind, title in ((HARDWARE, "硬件环境"), (SOFTWARE, "软件环境")):
        section = group.lists.get(kind)
        if section is None:
            complaints.append(Complaint(group.general.place, f"found no list {title} above this table, expected one"))
            continue
        section.finish()
        complaints += section.complaints
        environment[kind], sections[kind] = section.texts, section.place
        if not section.texts:
            complaints.append(Complaint(section.place, f"found nothing in the list {title}, expected a text at least"))
    for again in group.twice:
        complaints.append(Complaint(again.place, f"found a second list of this kind ({again.kind}), expected one"))
    return environment, sections


def _tables(group: _Group, complaints: list[Complaint]) -> list[Table]:
    """The performance tables that are certainly of the group's model."""
    taken: list[Table] = []
    left: Line | None = None  # the title with which the group ended
    for table, between in group.tables:
        strange = [line for line in between if _is_strange(line, first=not taken)]
        if taken and left is None:
            left = next((line for line in strange if line.kind == HEADING), None)
        line = left or (strange[0] if strange else None)
        if line is None:
            taken.append(table)
            continue
        complaints.append(
            Complaint(
                table.place,
                f"{quote(line.said.text)} in line {line.said.place.line} stands above this table, so it is not "
                f"certain that it belongs to the table 通用指标 in line {group.general.place.line}: not read",
                is_note=left is not None,
            )
        )
    return taken


def _is_strange(line: Line, *, first: bool) -> bool:
    """Whether a line above a table may give it to somebody else; above the first one, a sentence does not."""
    return not title_of(line.said.text) and not (first and line.kind == TEXT)
