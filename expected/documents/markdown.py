"""Splits Markdown into lines, list items and pipe tables, each with its place; code and comments are skipped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterator, Tuple, Union

from expected.documents.model import Place, Said
from expected.documents.quoting import reading_form

HEADING, ITEM, TEXT = "heading", "item", "text"

_LINE_END = re.compile(r"\r\n|\n|\r")
_FENCE = re.compile(r"\s*(?:(?:[-*+]|[0-9]{1,9}[.)])\s+)?(`{3,}|~{3,})")
_RAW_HTML = re.compile(r"\s*<(pre|script|style|textarea)\b", re.IGNORECASE)
_ITEM = re.compile(r"(\s*)(?:[-*+]|[0-9]{1,9}[.)])\s+(?=\S)")
_HEADING = re.compile(r"\s*(#{1,6})(?!#)\s*")
_DASHES = re.compile(r":?-+:?")
_CODE_INDENT = 4

Cells = Tuple[Said, ...]


@dataclass(frozen=True)
class Line:
    """A line outside tables, without bullet and hashes; `blank_before` if a blank line precedes it."""

    kind: str
    said: Said
    indent: int
    blank_before: bool


@dataclass(frozen=True)
class Table:
    """A pipe table; `broken` is the reason if it only looks like one."""

    header: Cells
    rows: tuple[Cells, ...]
    places: tuple[Place, ...]
    broken: str = ""

    @property
    def place(self) -> Place:
        """The place of its headings."""
        return self.header[0].place


Block = Union[Line, Table]


@dataclass(frozen=True)
class _Source:
    number: int
    text: str


def split(text: str) -> tuple[Block, ...]:
    """Return the blocks of a document, in its order.

    >>> [block.kind for block in split("# Title\\n- item") if isinstance(block, Line)]
    ['heading', 'item']
    """
    found: list[Block] = []
    pending: list[_Source] = []
    lists = _Lists()
    blank = True
    for source in _shown_lines(text):
        if _is_row(source.text):
            pending.append(source)
            continue
        if pending:
            found += _blocks_of(pending, lists)
            pending, blank = [], False
        if source.text.strip():
            line = _line(source, blank)
            lists.see(line, source.text)
            found.append(line)
        blank = not source.text.strip()
    return (*found, *_blocks_of(pending, lists))


class _Lists:
    """The indents of the open list items, to which the next line may belong."""

    def __init__(self) -> None:
        self._open: list[int] = []

    def see(self, line: Line, text: str) -> None:
        while self._open and line.indent < self._open[-1]:
            self._open.pop()
        if line.kind == ITEM:
            self._open.append(_width(text[: line.said.place.column - 1]))

    def makes_code(self, text: str) -> bool:
        """Return whether a line is indented so far that it is code."""
        indent = _indent(text)
        inner = max((one for one in self._open if one <= indent), default=0)
        return indent - inner >= _CODE_INDENT


def _shown_lines(text: str) -> Iterator[_Source]:
    """Yield the lines, comments blanked and code emptied, so that line and column numbers stay."""
    fence, raw, in_comment = "", "", False
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if fence:
            fence = "" if _closes(line, fence) else fence
            yield _Source(number, "")
            continue
        if raw:
            raw = "" if f"</{raw}>" in line.lower() else raw
            yield _Source(number, "")
            continue
        line, in_comment = _without_comments(line, in_comment)
        opened, html = _FENCE.match(line), _RAW_HTML.match(line)
        if opened and not (opened.group(1)[0] == "`" and "`" in line[opened.end() :]):
            fence, line = opened.group(1), ""
        elif html:
            tag = html.group(1).lower()
            raw, line = "" if f"</{tag}>" in line.lower() else tag, ""
        yield _Source(number, line)


def _closes(line: str, fence: str) -> bool:
    bare = line.strip()
    return len(bare) >= len(fence) and not bare.strip(fence[0])


def _without_comments(line: str, inside: bool) -> tuple[str, bool]:
    parts, position = [], 0
    while position < len(line):
        if inside:
            end = line.find("-->", position)
            stop = len(line) if end < 0 else end + 3
            parts.append(" " * (stop - position))
            inside, position = end < 0, stop
            continue
        begin = line.find("<!--", position)
        stop = len(line) if begin < 0 else begin
        parts.append(line[position:stop])
        position = stop
        if begin >= 0:
            # "<!-->" is a complete comment: its end may share the dashes of its beginning.
            inside, position = True, begin + 2
            parts.append("  ")
    return "".join(parts), inside


def _is_row(text: str) -> bool:
    starts_otherwise = text.lstrip()[:1] == ">" or _ITEM.match(text) or _HEADING.match(text)
    return not starts_otherwise and len(_pipes(text)) > 0


def _pipes(text: str) -> list[int]:
    """Return the positions of the pipes that separate cells, without those behind a backslash."""
    if "|" not in text and "｜" not in text:
        return []
    found, escaped = [], False
    for position, one in enumerate(text):
        if escaped:
            escaped = False
        elif one == "\\":
            escaped = True
        elif one in "|｜":
            found.append(position)
    return found


def _cells(source: _Source) -> Cells:
    text = source.text
    pipes = _pipes(text)
    ends = [-1, *pipes, len(text)]
    spans = [(begin + 1, end) for begin, end in zip(ends, ends[1:])]
    # A pipe at the beginning or the end of the line separates no cells.
    if not text[slice(*spans[0])].strip():
        spans = spans[1:]
    if spans and not text[slice(*spans[-1])].strip():
        spans = spans[:-1]
    return tuple(_said(text[begin:end], source.number, begin) for begin, end in spans)


def _said(text: str, line: int, offset: int) -> Said:
    bare = text.strip()
    before = len(text) - len(text.lstrip()) if bare else 0
    return Said(bare, Place(line, offset + before + 1))


def _blocks_of(rows: list[_Source], lists: _Lists) -> list[Block]:
    """Return the table in consecutive lines with pipes; lines above its headings are text."""
    if not rows:
        return []
    split_rows = [_cells(row) for row in rows]
    dashes = next((n for n, cells in enumerate(split_rows) if n and _are_dashes(cells)), None)
    if dashes is None:
        if len(split_rows[0]) < 2:
            return [_line(row, False) for row in rows]
        return [_broken(split_rows, 0, "has no line of dashes below its headings")]
    top = dashes - 1
    header = split_rows[top]
    before: list[Block] = [_line(row, False) for row in rows[:top]]
    if lists.makes_code(rows[top].text):
        return [
            *before,
            _broken(split_rows, top, f"is indented by {_CODE_INDENT} columns or more, which makes it code"),
        ]
    if len(split_rows[dashes]) != len(header):
        found = f"has {len(split_rows[dashes])} columns in its line of dashes and {len(header)} headings"
        return [*before, _broken(split_rows, top, found)]
    places = tuple(Place(row.number, _indent_of(row.text) + 1) for row in rows[dashes + 1 :])
    return [*before, Table(header, tuple(split_rows[dashes + 1 :]), places)]


def _broken(split_rows: list[Cells], top: int, why: str) -> Table:
    cells = next((cells for cells in split_rows[top:] if cells), None)
    place = cells[0].place if cells else Place(1, 1)
    return Table(cells or (Said("", place),), (), (), why)


def _are_dashes(cells: Cells) -> bool:
    return bool(cells) and all(_DASHES.fullmatch(reading_form(cell.text)) for cell in cells)


def _line(source: _Source, blank_before: bool) -> Line:
    """Classify a line; a list item with a heading in it is an item."""
    kind, offset = TEXT, 0
    item = _ITEM.match(source.text)
    if item:
        kind, offset = ITEM, item.end()
    heading = _HEADING.match(source.text[offset:])
    if heading:
        kind, offset = HEADING if kind == TEXT else ITEM, offset + heading.end()
    said = _said(source.text[offset:].rstrip().rstrip("#") if heading else source.text[offset:], source.number, offset)
    return Line(kind, said, _indent(source.text), blank_before)


def _indent_of(text: str) -> int:
    return len(text) - len(text.lstrip())


def _indent(text: str) -> int:
    return _width(text[: _indent_of(text)])


def _width(text: str) -> int:
    return len(text.expandtabs(_CODE_INDENT))
