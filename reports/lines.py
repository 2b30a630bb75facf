"""Lines of text for a terminal: columns below each other, folded to a width."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Sequence

_GAP = "   "
_NARROW_GAP = "  "  # of a table that has to be folded
_NO_BREAK = "\N{NO-BREAK SPACE}"
_WITHIN_NUMBER = re.compile(r"(?<=\d) (?=%|\d{3}\b)|(?<=[<>]=) |(?<=±) ")
_SHELL_WORD = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")


@dataclass(frozen=True)
class Line:
    """A line of text and the name of its colour, "" for none; `cells` are those of a table's row.

    `lead` is the short word before a command.
    """

    text: str
    colour: str = ""
    cells: tuple[str, ...] = ()
    lead: str = ""


def aligned(rows: Sequence[Sequence[str]], colours: Sequence[str] = ()) -> list[Line]:
    """Return rows of texts, the headings first, as lines with their columns below each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        Line(_GAP.join(text.ljust(width) for text, width in zip(row, widths)).rstrip(), colour, tuple(row))
        for row, colour in zip(rows, colours or [""] * len(rows))
    ]


def width_of(is_terminal: bool) -> int | None:
    """Return the width to fold lines to: a terminal's, or COLUMNS; None for a file or a pipe, which nobody folds."""
    return shutil.get_terminal_size().columns if is_terminal or "COLUMNS" in os.environ else None


def print_lines(lines: Sequence[Line | str]) -> None:
    """Print lines to standard output, folded on a terminal."""
    whole = [Line(line) if isinstance(line, str) else line for line in lines]
    is_terminal = sys.stdout.isatty()
    shown = folded(whole, shutil.get_terminal_size().columns) if is_terminal else whole
    print("\n".join(line.text for line in shown))


def folded(lines: Sequence[Line], width: int) -> list[Line]:
    """Return lines of at most `width` columns, broken at spaces only; what has none is longer.

    Tables are broken within their cells. Commands go on behind a backslash, so that they can still be copied.
    """
    found: list[Line] = []
    table: list[Line] = []
    for line in [*lines, Line("")]:
        if line.cells and (not table or len(table[0].cells) == len(line.cells)):
            table.append(line)
            continue
        found += _folded_table(table, width)
        table = [line] if line.cells else []
        found += [] if line.cells else _folded_text(line, width)
    return found[:-1]


def _folded_text(line: Line, width: int) -> list[Line]:
    if len(line.text) <= width:
        return [line]
    if not line.lead:
        return [Line(text, line.colour) for text in _broken(line.text, width, "  ")]
    words = _SHELL_WORD.findall(line.text[len(line.lead) :])
    texts = [line.lead + words[0]]
    for word in words[1:]:
        if len(texts[-1]) + len(word) + 3 <= width:  # a space, and one more with a backslash
            texts[-1] += f" {word}"
        else:
            texts[-1] += " \\"
            texts.append(" " * len(line.lead) + word)
    return [Line(text, line.colour) for text in texts]


def _folded_table(table: Sequence[Line], width: int) -> list[Line]:
    """Return the rows with cells broken so that they fit, in the fewest lines.

    Where their longest words do not fit beside each other, the cells of a row stand one after the other.
    """
    if all(len(line.text) <= width for line in table):
        return list(table)
    widths = [max(map(len, column)) for column in zip(*(line.cells for line in table))]
    best = _rows_of(table, widths)
    while sum(widths) + len(_NARROW_GAP) * (len(widths) - 1) > width:
        found = []
        for at in (at for at, one in enumerate(widths) if one):
            narrower = [one - (at == column) for column, one in enumerate(widths)]
            rows = _rows_of(table, narrower)
            if all(len(part) <= most for row in rows for cell, most in zip(row, narrower) for part in cell):
                found.append((sum(max(map(len, row)) for row in rows), -widths[at], narrower, rows))
        if not found:
            singly = [Line(_in_a_row(table[0].cells, line.cells), line.colour) for line in table[1:]]
            return [part for line in singly for part in _folded_text(line, width)]
        _, _, widths, best = min(found, key=lambda one: one[:2])
    return [
        Line(_NARROW_GAP.join(part.ljust(most) for part, most in zip(parts, widths)).rstrip(), line.colour)
        for line, row in zip(table, best)
        for parts in zip_longest(*row, fillvalue="")
    ]


def _in_a_row(headings: Sequence[str], cells: Sequence[str]) -> str:
    return " · ".join(f"{heading} {cell}" for heading, cell in zip(headings, cells) if cell not in ("", "-"))


def _rows_of(table: Sequence[Line], widths: Sequence[int]) -> list[list[list[str]]]:
    """Return each row's cells as the lines that they are broken into, of these widths if their words allow."""
    return [[_broken(text, max(most, 1)) for text, most in zip(line.cells, widths)] for line in table]


@lru_cache(maxsize=4096)
def _broken(text: str, width: int, indent: str = "") -> list[str]:
    """Return a text in lines, broken at spaces but those within a number or before its percent sign."""
    kept = _WITHIN_NUMBER.sub(_NO_BREAK, text)
    lines = textwrap.wrap(kept, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_NO_BREAK, " ") for line in lines]
