"""Lists the differences between a document and a device file."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any, Callable, Iterator, Mapping, Sequence, Tuple

from evidence.text import visible
from expected.documents.device_file import modifications_of, short_name
from expected.documents.model import Document, Place, Row, Stated
from expected.documents.names import bare_name, size_of, vendor_of
from expected.documents.quoting import one_line, shown
from expected.documents.words import GENERAL, NO_MODIFICATION, PERFORMANCE, PRINTED_LABELS, plain_word
from expected.model import NOT_APPLICABLE, PUBLISHED, UNPUBLISHED, Cell, Device, Expectation, Recipe
from expected.recipe import deviations

_WORDS = {UNPUBLISHED: "blank (unpublished)", NOT_APPLICABLE: '"/" (not applicable)'}
COMPARED = ("hardware", "software")
"""Tables of a device file's environment that come from the document; "packages" does not."""
_BOTH, _IN_BOTH = "machine_and_card", ("machine", "card")


def differences(document: Document, device: Device) -> tuple[str, ...]:
    """Return every difference, in the document's order.

    Compared are the names, the environment's texts, declared modifications, and each row with its hyper-parameters and
    numbers; not a device file's source, packages and own bounds, which no document has.

    >>> differences(read_document_file("README.md"), load_devices()["r300"])  # doctest: +SKIP
    ('README.md:51:66: r300-1x8-fp32-bs16: map: the document says 0.37, r300.toml 0.364',)
    """
    found = [*_other_name(document, device), *_other_environment(document, device), *_other_recipe(document, device)]
    found += _other_rows(document, device)
    file = device.path.name
    return tuple(
        f"{document.name}:{place}: {what}: the document says {visible(says)}, {file} {visible(has)}"
        for place, what, says, has in sorted(found, key=lambda one: one[0])
    )


_Difference = Tuple[Place, str, str, str]
"""Place, subject, the document's value, the file's value."""
_Key = Callable[[Any], Tuple[object, ...]]


def is_named(stated: str, device: Device) -> bool:
    """Return whether a document's short name is a name of the device, as its vendor writes it: "nvidia a100".

    The size of memory may be missing on one side. The vendor may be missing, but must not be another.
    """
    own = one_line(f"{device.vendor} {device.name}")
    if stated.casefold() in (own.casefold(), one_line(device.name).casefold()):
        return True
    vendor, _ = vendor_of(stated)
    if vendor is not None and vendor.name.casefold() != device.vendor.casefold():
        return False
    sizes = size_of(stated), size_of(own)
    return bare_name(stated) == bare_name(own) and (None in sizes or sizes[0] == sizes[1])


def _other_name(document: Document, device: Device) -> Iterator[_Difference]:
    stated, own = short_name(document), one_line(f"{device.vendor} {device.name}")
    if document.device is not None and not is_named(stated, device):
        yield document.device.place, "device", repr(stated), repr(own)


def _other_environment(document: Document, device: Device) -> Iterator[_Difference]:
    for kind in COMPARED:
        stated = {key: one_line(shown(said.text)) for key, said in document.environment.get(kind, {}).items()}
        known = device.environment.get(kind, {})
        for key, text in stated.items():
            place = document.environment[kind][key].place
            if key not in known:
                if plain_word(text) not in NO_MODIFICATION and not _is_said_otherwise(key, text, known):
                    yield place, f"{kind} {key}", repr(text), "nothing"
            elif known[key] != text:
                yield place, f"{kind} {key}", repr(text), repr(known[key])
        for key in known:
            # Of an item that no published list has, nothing can be missing there.
            in_both = key in _IN_BOTH and _BOTH in stated
            if key not in stated and key in PRINTED_LABELS and not in_both:
                yield document.place(kind), f"{kind} {key}", "nothing", repr(known[key])


def _is_said_otherwise(key: str, text: str, known: Mapping[str, str]) -> bool:
    """Return whether a device file has an item of the document under other keys."""
    if key == _BOTH:
        return all(_words(known[one]) <= _words(text) for one in _IN_BOTH if one in known) and "card" in known
    return key == "framework" and "torch" in known and known["torch"].casefold() in text.casefold()


def _words(text: str) -> set[str]:
    return set(re.findall("[0-9a-z]+|[^\x00-\x7f]+", text.casefold()))


def _other_recipe(document: Document, device: Device) -> Iterator[_Difference]:
    """Compare declared modifications with the recipe piece by piece; the file's notes may explain either."""
    benchmark = Recipe()
    recipes = [cell.recipe for cell in device.cells]
    own = {
        (one.name, getattr(recipe, one.name))
        for recipe in recipes
        for one in fields(Recipe)
        if getattr(recipe, one.name) != getattr(benchmark, one.name)
    }
    texts = dict.fromkeys(text for recipe in recipes for text in deviations(recipe))
    pieces = [piece for piece in re.split(r"\s*[;；]\s*", modifications_of(document)) if piece]
    notes = _plain(device.notes)
    unknown = [piece for piece in pieces if _plain(piece) not in notes and not any(_says(piece, *one) for one in own)]
    silent = [
        text
        for text in texts
        if not any(_says(piece, *one) for piece in pieces for one in own if text.startswith(f"{one[0]}:"))
        and _plain(text.partition(":")[0]) not in notes
    ]
    if unknown or silent:
        said = document.modifications
        place = document.place(GENERAL) if said is None else said.place
        yield place, "modifications", repr("; ".join(unknown)) if unknown else "none", "; ".join(silent) or "none"


def _says(piece: str, name: str, value: object) -> bool:
    """Return whether a declared modification is that field of the recipe, with that value."""
    text = piece.casefold().partition(", the benchmark's is ")[0]
    if name == "lowered":  # NAME=VALUE speaks for itself
        return isinstance(value, tuple) and all(str(one).casefold() in text for one in value)
    key = _plain(name)
    if key not in _plain(text):
        return False
    if isinstance(value, bool):
        return value is not bool(re.search(r"false|[=:]\s*0|\boff\b|disable|关闭|禁用|不使用", text))
    numbers = [float(one) for one in re.findall(r"(?<![a-z0-9.])[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?", text)]
    if isinstance(value, tuple):
        return numbers == list(value)
    return value in numbers if isinstance(value, (int, float)) else str(value).casefold() in text


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text.casefold())


def _other_rows(document: Document, device: Device) -> Iterator[_Difference]:
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
    """Return each row with its cell: the same hyper-parameters, or else the only one left of its topology."""
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
