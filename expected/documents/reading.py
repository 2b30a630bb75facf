"""Reads a document: finds the one section about this benchmark, and its contents."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Sequence

from evidence.text import visible
from expected.documents.cells import Default
from expected.documents.general import General, Section, check_data_set, check_sentence, is_general, read_general
from expected.documents.markdown import HEADING, ITEM, TEXT, Line, Table, split
from expected.documents.model import Complaint, Complaints, Document, DocumentError, Place, Said, quote
from expected.documents.performance import Reader, is_performance
from expected.documents.plausible import limits_of
from expected.documents.quoting import one_line, shown
from expected.documents.words import (
    DEVICE,
    GENERAL,
    GENERATED,
    HARDWARE,
    MODEL,
    PERFORMANCE,
    SOFTWARE,
    TITLES,
    is_this_model,
    plain_word,
    title_of,
)

LARGEST_BYTES = 4 << 20
"""A larger file is refused unread."""

_LISTS = {HARDWARE: "硬件环境", SOFTWARE: "软件环境"}


@dataclass
class _Group:
    """A table of general metrics and the performance tables below it, with the lines between them."""

    general: General
    lists: dict[str, Section]
    twice: list[Section]
    tables: list[tuple[Table, list[Line]]] = field(default_factory=list)
    loose: list[tuple[Place, Place]] = field(default_factory=list)  # rows, and the table they are separated from
    below: list[Line] = field(default_factory=list)  # lines below a performance table, until the next heading
    odd_title: Said | None = None  # a title 通用指标 with more words


def read_document_file(path: str | Path, defaults: Sequence[Default] = (), device: str = "") -> Document:
    """Read the document at `path`, as `read_document` does.

    Raises DocumentError if it is not UTF-8 text, or larger than LARGEST_BYTES.

    >>> document = read_document_file("README.md")  # doctest: +SKIP
    >>> [row.name for row in document.rows], document.errors  # doctest: +SKIP
    (['1x1 fp32 bs=16 lr=0.16', '1x8 fp32 bs=16 lr=0.16'], ())
    """
    path = Path(path)
    name = visible(path.name)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DocumentError(f"{visible(str(path))}: cannot be read: {reason}") from error
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
    return read_document(text, name, defaults, device)


def read_document(text: str, name: str = "document", defaults: Sequence[Default] = (), device: str = "") -> Document:
    """Read a document. Never raises: whatever cannot be read with certainty is among its complaints.

    `device` is read as the device's name if all rows contradict the short name that the document gives it.
    """
    finder = _Finder()
    for block in split(text):
        if isinstance(block, Table):
            finder.table(block)
        else:
            finder.line(block)
    return _document(finder, name, defaults, device)


class _Finder:
    """Sorts a document's blocks into groups."""

    def __init__(self) -> None:
        self.groups: list[_Group] = []
        self.complaints = Complaints()
        self._lists: dict[str, Section] = {}
        self._fresh: set[str] = set()  # kinds of list since the last table of general metrics
        self._twice: list[Section] = []
        self._current: Section | None = None
        self._between: list[Line] = []
        self._below: list[Line] | None = None  # where lines go that stand below a performance table
        self._odd_title: Said | None = None
        self._last: Table | None = None  # of either kind, until the next heading

    def line(self, line: Line) -> None:
        title = title_of(line.said.text)
        if title in _LISTS:
            section = Section(title, line.said.place)
            if title in self._fresh:
                self._twice.append(section)
            self._fresh.add(title)
            self._lists[title] = self._current = section
        elif title or line.kind == HEADING:
            self._current = self._last = self._below = None
        elif self._current is not None:
            self._current.add(line)
        elif self._below is not None:
            self._below.append(line)
        if not title and GENERAL in _begun(line.said.text):
            self._odd_title = line.said
        self._between.append(line)

    def table(self, table: Table) -> None:
        general, performance = is_general(table), is_performance(table)
        if table.broken and not general and not performance:
            if self.groups and self._last is not None and len(self._last.header) == len(table.header):
                self.groups[-1].loose.append((table.place, self._last.place))
            self.line(Line(TEXT, table.header[0], 0, blank_before=True))
            return
        self._current = None
        self._last = table if general or performance else None
        if general:
            group = _Group(read_general(table), dict(self._lists), list(self._twice), odd_title=self._odd_title)
            self.groups.append(group)
            self._below = self._odd_title = None
            # The lists also apply to the following tables until new ones come, which are then no repetition.
            self._fresh, self._twice, self._between = set(), [], []
        elif performance and self.groups:
            self.groups[-1].tables.append((table, self._between))
            self._between, self._below = [], self.groups[-1].below
        elif performance:
            self.complaints.note(
                table.place,
                "a performance table stands before any table 通用指标, so whose it is is not known: not read",
            )


def _begun(text: str) -> tuple[str, ...]:
    """Return the sections whose titles a text begins with, alone or before more words."""
    word = plain_word(text).strip("#")
    return tuple(kind for title, kind in TITLES.items() if word.startswith(title))


def _document(finder: _Finder, name: str, defaults: Sequence[Default], named: str) -> Document:
    complaints = finder.complaints
    mine = [one for one in finder.groups if one.general.model is not None and is_this_model(one.general.model.text)]
    for group in finder.groups:
        if group not in mine:
            _note_other_model(group, complaints)
    if len(mine) != 1:
        _complain_of_count(mine, complaints)
        return Document(name, None, {}, {}, None, (), _sorted(complaints))
    (group,) = mine
    general = group.general
    complaints += general.complaints
    check_data_set(general.data_set, general.place, complaints)
    if group.odd_title is not None:
        found = f"found {quote(group.odd_title.text)}, expected the title 通用指标 alone"
        complaints.error(group.odd_title.place, found)
    device = _device(general, complaints)
    environment, sections = _environment(group, complaints)
    for place, table_place in group.loose:
        found = f"these rows stand apart from the table in line {table_place.line}; remove what is between them"
        complaints.error(place, found)
    sentences = list(general.sentences)
    tables = []
    for table, between in _tables(group, complaints):
        sections.setdefault(PERFORMANCE, table.place)
        tables.append(table)
        sentences += _told([line for line in between if line.kind == TEXT and not title_of(line.said.text)], complaints)
    sentences += _told([line for line in group.below if line.kind in (TEXT, ITEM)], complaints)
    sentences += [said for section in group.lists.values() for said in section.sentences]
    reader = _read_tables(tables, group, "" if device is None else shown(device.text), environment, defaults)
    if named and reader.is_of_another_device:
        reader = _read_tables(tables, group, named, environment, defaults)
        place = general.place if device is None else device.place
        short = "" if device is None else shown(device.text)
        complaints.note(place, f"{DEVICE}: {quote(short)} contradicts all rows, and {quote(named)} is given instead")
    else:
        named = ""
    if not group.tables:
        complaints.error(general.place, "found no performance table (性能指标) below this table, expected one")
    complaints += reader.complaints
    return Document(
        name=name,
        device=device,
        environment=environment,
        sections={**sections, GENERAL: general.place},
        modifications=general.modifications,
        rows=tuple(reader.rows),
        complaints=_sorted(complaints),
        named=named,
        in_step=general.in_step,
        sentences=tuple(sorted(sentences, key=lambda said: said.place)),
    )


def _read_tables(
    tables: Sequence[Table],
    group: _Group,
    device: str,
    environment: Mapping[str, Mapping[str, Said]],
    defaults: Sequence[Default],
) -> Reader:
    hardware = {key: one_line(shown(said.text)) for key, said in environment.get(HARDWARE, {}).items()}
    data_set = group.general.data_set
    is_generated = data_set is not None and plain_word(data_set.text).startswith(GENERATED)
    card = " ".join(hardware.get(key, "") for key in ("card", "machine_and_card"))
    limits = None if is_generated else limits_of(device, card)
    reader = Reader(device, defaults, group.general.units, "".join(hardware.values()).casefold(), limits)
    for table in tables:
        reader.read(table)
    reader.finish()
    return reader


def _told(lines: Sequence[Line], complaints: Complaints) -> list[Said]:
    for line in lines:
        check_sentence(line.said, complaints)
    return [line.said for line in lines]


def _sorted(complaints: Complaints) -> tuple[Complaint, ...]:
    return tuple(sorted(complaints, key=lambda one: one.place))


def _complain_of_count(mine: Sequence[_Group], complaints: Complaints) -> None:
    if mine:
        first, second = mine[0].general.place, mine[1].general.place
        found = f"found a second table 通用指标 of fasterRCNN, the first in line {first.line}, expected one"
        complaints.error(second, found)
        return
    complaints.error(
        Place(1, 1),
        f"found no table 通用指标 with a row {MODEL} that names fasterRCNN, expected one; "
        "`python -m reports table --document` prints a whole section",
    )


def _note_other_model(group: _Group, complaints: Complaints) -> None:
    model = group.general.model
    whose = "whose model is not given" if model is None else f"of the model {quote(shown(model.text))}"
    for place in (group.general.place, *(table.place for table, _ in group.tables)):
        complaints.note(place, f"a table {whose} is not read")


def _device(general: General, complaints: Complaints) -> Said | None:
    said = general.device
    if said is None or not shown(said.text).strip():
        complaints.error(general.place if said is None else said.place, f"found no {DEVICE}, expected a name")
        return None
    if not one_line(shown(said.text)).isprintable():
        complaints.error(said.place, f"{DEVICE}: found {quote(shown(said.text))} with invisible characters")
    return said


def _environment(group: _Group, complaints: Complaints) -> tuple[dict[str, dict[str, Said]], dict[str, Place]]:
    environment: dict[str, dict[str, Said]] = {}
    sections: dict[str, Place] = {}
    for kind, title in _LISTS.items():
        section = group.lists.get(kind)
        if section is None:
            complaints.error(group.general.place, f"found no list {title} above this table, expected one")
            continue
        section.finish()
        complaints += section.complaints
        environment[kind], sections[kind] = section.texts, section.place
        if not section.texts:
            complaints.error(section.place, f"found nothing in the list {title}, expected a text at least")
    for again in group.twice:
        complaints.error(again.place, f"found a second list of this kind ({again.kind}), expected one")
    return environment, sections


def _tables(group: _Group, complaints: Complaints) -> list[tuple[Table, list[Line]]]:
    """Return the performance tables that certainly belong to the group's model, with the lines above each."""
    taken: list[tuple[Table, list[Line]]] = []
    left: Line | None = None  # the heading at which the group ended
    for table, between in group.tables:
        # Only headings of this section may stand above a table; above the first one, sentences too.
        foreign = [line for line in between if not title_of(line.said.text) and not (not taken and line.kind == TEXT)]
        if taken and left is None:
            left = next((line for line in foreign if line.kind == HEADING), None)
        line = left or (foreign[0] if foreign else None)
        if line is None:
            taken.append((table, between))
            continue
        found = (
            f"{quote(line.said.text)} in line {line.said.place.line} stands above this table, so it is not "
            f"certain that it belongs to the table 通用指标 in line {group.general.place.line}: not read"
        )
        if left is None:
            complaints.error(table.place, found)
        else:
            complaints.note(table.place, found)
    return taken
