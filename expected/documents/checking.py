"""Holds a document against a device file: every difference, each with the place where the document says otherwise."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Sequence, Tuple

from expected.documents.importing import modifications, short_name
from expected.documents.model import Document, Place, Row, Stated
from expected.documents.quoting import one_line, shown, visible
from expected.documents.words import GENERAL, PERFORMANCE
from expected.model import NOT_APPLICABLE, PUBLISHED, UNPUBLISHED, Cell, Device, Expectation
from expected.recipe import deviations

_WORDS = {UNPUBLISHED: "blank (unpublished)", NOT_APPLICABLE: '"/" (not applicable)'}
COMPARED = ("hardware", "software")
"""Tables of a device file's environment that come from the document; "packages" is what the project knows besides."""


def differences(document: Document, device: Device) -> tuple[str, ...]:
    """Every difference, in the document's order: "README.md:51:66: cell: metric: the document says ..., r300.toml ...".

    Compared are the names, the environment's texts, declared modifications, and each row with its hyper-parameters and
    numbers. What a device file says of its source, its packages and its own bounds is not in the document.
    """
    found = [*_names(document, device), *_environment(document, device), *_recipe(document, device)]
    found += _rows(document, device)
    file = device.path.name
    return tuple(
        f"{document.name}:{place}: {what}: the document says {visible(says)}, {file} {visible(has)}"
        for place, what, says, has in sorted(found, key=lambda one: one[0])
    )


_Difference = Tuple[Place, str, str, str]
"""Where, of what, what the document says, what the file says."""
_Key = Callable[[Any], Tuple[object, ...]]


def _names(document: Document, device: Device) -> Iterator[_Difference]:
    stated, own = short_name(document), one_line(f"{device.vendor} {device.name}")
    if document.device is not None and stated.casefold() not in (own.casefold(), one_line(device.name).casefold()):
        yield document.device.place, "device", repr(stated), repr(own)


def _environment(document: Document, device: Device) -> Iterator[_Difference]:
    for kind in COMPARED:
        stated = document.environment.get(kind, {})
        known = device.environment.get(kind, {})
        for key, said in stated.items():
            text = one_line(shown(said.text))
            if key not in known:
                yield said.place, f"{kind} {key}", repr(text), "nothing"
            elif known[key] != text:
                yield said.place, f"{kind} {key}", repr(text), repr(known[key])
        for key in known:
            if key not in stated:
                yield document.place(kind), f"{kind} {key}", "nothing", repr(known[key])


def _recipe(document: Document, device: Device) -> Iterator[_Difference]:
    declared = modifications(document)
    own = "; ".join(dict.fromkeys(one for cell in device.cells for one in deviations(cell.recipe)))
    if bool(declared) != bool(own):
        said = document.modifications
        place = document.place(GENERAL) if said is None else said.place
        yield place, "modifications", repr(declared) if declared else "none", own or "none"


def _rows(document: Document, device: Device) -> Iterator[_Difference]:
    cells = list(device.cells)
    for row, cell in _pairs(document.rows, cells):
        if cell is None:
            yield row.place, row.name, "a row", "no such cell"
            continue
        compared = [
            ("batch_size", row.hyper.place, repr(row.batch_size), repr(cell.batch_size)),
            ("learning_rate", row.hyper.place, repr(row.learning_rate), repr(cell.learning_rate)),
        ]
        for name, stated in row.metrics.items():
            compared.append((name, stated.said.place, _printed(stated), _in_file(cell.expectations[name])))
        for what, place, says, has in compared:
            if says != has:
                yield place, f"{cell.id}: {what}", says, has
        cells.remove(cell)
    for cell in cells if not document.errors else ():  # its row may be one of those that could not be read
        yield document.place(PERFORMANCE), cell.id, "no such row", "a cell"


def _pairs(rows: Sequence[Row], cells: Sequence[Cell]) -> list[tuple[Row, Cell | None]]:
    """Each row with its cell: that of the same hyper-parameters, or else the only one left of its topology."""
    left = list(cells)
    pairs: dict[int, Cell] = {}
    keys: tuple[_Key, ...] = (
        lambda one: (*_shape(one), one.batch_size, one.learning_rate),
        lambda one: (*_shape(one), one.batch_size),
        _shape,
    )
    for key in keys:
        open_rows = [key(row) for number, row in enumerate(rows) if number not in pairs]
        for number, row in enumerate(rows):
            fitting = [cell for cell in left if key(cell) == key(row)]
            if number not in pairs and len(fitting) == 1 and open_rows.count(key(row)) == 1:
                pairs[number] = fitting[0]
                left.remove(fitting[0])
    return [(row, pairs.get(number)) for number, row in enumerate(rows)]


def _shape(one: Row | Cell) -> tuple[object, ...]:
    return one.topology, one.precision


def _printed(stated: Stated) -> str:
    return _in_words(stated.state, stated.value, stated.capacity)


def _in_file(known: Expectation) -> str:
    capacity = known.capacity if known.state == PUBLISHED else None
    return _in_words(known.state, known.value, capacity)


def _in_words(state: str, value: float | None, capacity: float | None) -> str:
    if state != PUBLISHED:
        return _WORDS[state]
    return repr(value) if capacity is None else f"{value!r} of {capacity!r}"
