"""Documents to read: the R300's, with a table of one's own, or with something else changed."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from expected.documents import Document, read_document
from expected.documents.cells import Default

SEED = Path(__file__).with_name("r300.md").read_text(encoding="utf-8")

HEADER = "| 配置 | precision | fix_hp | e2e_time | p_whole | p_train | p_core | map | mem |"
DASHES = "|---|---|---|---|---|---|---|---|---|"
_BEFORE = SEED[: SEED.index("| 配置")]
FIRST = _BEFORE.count("\n") + 1
"""Line of the headings in `document`; the first row is two lines below."""
ROW_LINE = FIRST + 2
CELLS = {
    "config": "R300单机8卡（1x8）",
    "precision": "fp32",
    "fix_hp": "bs=16,lr=0.16",
    "e2e_time": "11848",
    "p_whole": "187",
    "p_train": "199",
    "p_core": "298",
    "map": "36.6%",
    "mem": "28.0/32.0",
}


def row(**changes: str) -> str:
    """A row of the table, good but for `changes`."""
    return "| " + " | ".join({**CELLS, **changes}.values()) + " |"


def column_at(name: str, **changes: str) -> int:
    """The column in which a cell of `row` with the same changes begins."""
    cells = {**CELLS, **changes}
    before = list(cells)[: list(cells).index(name)]
    blank = not cells[name]
    return 3 + sum(len(cells[key]) + 3 for key in before) - blank


def document(*rows: str, header: str = HEADER, dashes: str = DASHES, before: str = _BEFORE, after: str = "") -> str:
    """The R300's document with these rows as its performance table."""
    return before + "\n".join((header, dashes, *rows)) + "\n" + after


def changed(old: str, new: str, text: str = SEED) -> str:
    """The document with one thing changed, which must be there."""
    assert old in text, old
    return text.replace(old, new, 1)


def place_of(text: str, piece: str) -> str:
    """Line and column where a piece of a text first stands."""
    before = text[: text.index(piece)]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def read(text: str, defaults: Sequence[Default] = ()) -> Document:
    """What a text states, as the document README.md."""
    return read_document(text, "README.md", defaults)


def errors(text: str) -> list[str]:
    """The errors of a document as they are printed, without its name."""
    return [one.line("")[1:] for one in read(text).errors]


def notes(text: str) -> list[str]:
    """The notes of a document as they are printed, without its name."""
    return [one.line("")[1:] for one in read(text).notes]


def numbers(text: str) -> dict[str, dict[str, object]]:
    """What each metric of a row reads as, by hyper-parameters: a number, "" (blank) or "/"; mem with its capacity."""
    found: dict[str, dict[str, object]] = {}
    for one in read(text).rows:
        words: dict[str, object] = {}
        for name, stated in one.metrics.items():
            word: object = {"unpublished": "", "not_applicable": "/"}.get(stated.state, stated.value)
            words[name] = (word, stated.capacity) if stated.capacity is not None else word
        found[f"{one.topology}-bs{one.batch_size}-lr{one.learning_rate!r}"] = words
    return found
