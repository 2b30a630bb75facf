"""Makes a device file of a document, and lists the differences between the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping, Sequence, Tuple

from evidence.text import visible
from expected.cells import deviations
from expected.documents.model import Document, DocumentError, Place, Row, Stated
from expected.documents.quoting import one_line, shown
from expected.documents.words import GENERAL, NO_MODIFICATION, PERFORMANCE, VENDORS, Vendor, plain_word
from expected.metrics import METRICS
from expected.model import NOT_APPLICABLE, PUBLISHED, UNPUBLISHED, Cell, Device, Expectation

_METHODS = {
    "host": "p_core with a host clock and no device synchronisation",
    "device": "p_core in step with the device",
}
_REST_OF_METHOD = (
    "e2e_time includes set-up; p_whole is images over the total time; p_train leaves the evaluation after each epoch "
    "out; p_core leaves data input out."
)


_WORDS = {UNPUBLISHED: "blank (unpublished)", NOT_APPLICABLE: '"/" (not applicable)'}
COMPARED = ("hardware", "software")
"""Tables of a device file's environment that come from the document; "packages" does not."""


@dataclass(frozen=True)
class Given:
    """Facts that are not in the document, from the command line; "" if the document or the vendor decides."""

    marker: str
    backend: str = ""
    vendor: str = ""
    name: str = ""
    timing: str = ""
    edition: str = ""


@dataclass(frozen=True)
class _Facts:
    """The same facts, all of them known."""

    vendor: str
    name: str
    backend: str
    timing: str
    smi: str


def device_toml(document: Document, given: Given) -> str:
    """Return the text of the device file `<marker>.toml`, not yet checked by the loader.

    Raises DocumentError, each line with its place, for a document with errors and for facts that are neither given nor
    known.

    >>> text = device_toml(read_document_file("README.md"), Given("r300"))  # doctest: +SKIP
    """
    if document.errors:
        raise DocumentError("\n".join(one.line(document.name) for one in document.errors))
    facts = _facts(document, given)
    lines = [
        f"# Made from {_string(visible(document.name))} by `python -m expected import`. The form: see r300.toml.",
        "schema = 1",
        "",
        *_device(document, given, facts),
        "",
        *_source(document, given, facts),
        "",
        "[units]",
        *(f"{metric.name} = {_string(metric.unit)}" for metric in METRICS.values()),
        *_environment(document),
    ]
    for row in document.rows:
        lines += ["", *_cell(row)]
    return "\n".join(lines) + "\n"


def short_name(document: Document) -> str:
    """Return the device's short name as the document prints it, vendor first; "" if it is missing."""
    return "" if document.device is None else one_line(shown(document.device.text))


def _modifications(document: Document) -> str:
    """Return the declared modifications besides batch size and learning rate; "" for none."""
    said = document.modifications
    if said is None or plain_word(said.text) in NO_MODIFICATION:
        return ""
    return one_line(shown(said.text))


def _facts(document: Document, given: Given) -> _Facts:
    text = short_name(document)
    first, _, rest = text.partition(" ")
    known = VENDORS.get((given.vendor or first).casefold(), Vendor("", "", ""))
    vendor, backend = given.vendor or known.name, given.backend or known.backend
    timing = given.timing or known.timing
    problems = [
        f"{what} is not in the document and no vendor {given.vendor or first!r} is known: give --{what}"
        for what, value in (("vendor", vendor), ("backend", backend), ("timing", timing))
        if not value
    ]
    if problems:
        place = Place(1, 1) if document.device is None else document.device.place
        raise DocumentError("\n".join(f"{document.name}:{place}: {problem}" for problem in problems))
    name, prefix = given.name or text, f"{vendor} "
    if not given.name and rest and text[: len(prefix)].casefold() == prefix.casefold():
        name = text[len(prefix) :].strip()
    return _Facts(vendor, name, backend, timing, known.smi if backend == known.backend else "")


def _device(document: Document, given: Given, facts: _Facts) -> list[str]:
    why_backend = "given, not in the document" if given.backend else "not in the document: known of this vendor"
    why_timing = (
        "given, not in the document"
        if given.timing
        else "not in the document: FlagPerf reads p_core with the host's clock, without waiting for the device"
    )
    lines = [
        "[device]",
        f"marker = {_string(given.marker)}",
        f"name = {_string(facts.name)}",
        f"vendor = {_string(facts.vendor)}",
        f"backend = {_string(facts.backend)} # {why_backend}",
    ]
    capacities = [row.metrics["mem"].capacity for row in document.rows]  # all the same, or missing
    memory = next((one for one in capacities if one is not None), None)
    if memory is not None:
        lines.append(f"card_memory_gib = {memory!r}")
    cards = max((row.topology.devices for row in document.rows), default=1)
    if cards > 1:
        lines.append(f"cards_per_host = {cards} # the most that a row of the document uses")
    lines.append(f"timing = {_string(facts.timing)} # {why_timing}")
    if facts.smi:
        lines.append(f"smi = {_string(facts.smi)} # not in the document: known of this vendor")
    return lines


def _source(document: Document, given: Given, facts: _Facts) -> list[str]:
    whose = f"FlagPerf faster_rcnn-pytorch, {facts.vendor} {facts.name}"
    lines = ["[source]", f"document = {_string(f'{whose} ({visible(document.name)})')}"]
    if given.edition:
        lines.append(f"edition = {_string(given.edition)}")
    lines.append(f"method = {_string(f'{_METHODS[facts.timing]}; {_REST_OF_METHOD}')}")
    changed = _modifications(document)
    if changed:
        lines.append("# Where this is no part of the benchmark's recipe, it belongs into [recipe].")
        lines.append(f"notes = {_string(f'The document declares modifications: {changed}')}")
    return lines


def _environment(document: Document) -> list[str]:
    lines = ["", "# The document's own words; the keys are translations."]
    for kind in ("hardware", "software"):
        lines += [f"[environment.{kind}]"]
        lines += [f"{key} = {_string(one_line(shown(said.text)))}" for key, said in document.environment[kind].items()]
        lines += [""]
    return lines[:-1]


def _cell(row: Row) -> list[str]:
    lines = [
        "[[cell]]",
        f"topo = {_string(str(row.topology))}",
        f"precision = {_string(row.precision)}",
        f"batch_size = {row.batch_size}",
        f"learning_rate = {row.learning_rate!r}",
    ]
    if row.given:
        printed = one_line(visible(row.hyper.text))
        lines.append(
            f"note = {_string(f'The table prints {printed!r}; what it leaves out was given when it was imported.')}"
        )
    return lines + [f"{name} = {_metric(row.metrics[name])}" for name in METRICS]


def _metric(stated: Stated) -> str:
    if stated.state != PUBLISHED:
        return '"not applicable"' if stated.state == NOT_APPLICABLE else '"unpublished"'
    if stated.capacity is None:
        return repr(stated.value)
    return f"{{ value = {stated.value!r}, capacity = {stated.capacity!r} }}"


_ESCAPES: Mapping[str, str] = {"\\": "\\\\", '"': '\\"'}


def _string(text: str) -> str:
    """Return `text` as a basic TOML string; control characters, which no file may hold, as visible escapes."""
    return '"' + "".join(_ESCAPES.get(one, one) for one in visible(text)) + '"'


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


def _other_name(document: Document, device: Device) -> Iterator[_Difference]:
    stated, own = short_name(document), one_line(f"{device.vendor} {device.name}")
    if document.device is not None and stated.casefold() not in (own.casefold(), one_line(device.name).casefold()):
        yield document.device.place, "device", repr(stated), repr(own)


def _other_environment(document: Document, device: Device) -> Iterator[_Difference]:
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


def _other_recipe(document: Document, device: Device) -> Iterator[_Difference]:
    declared = _modifications(document)
    own = "; ".join(dict.fromkeys(one for cell in device.cells for one in deviations(cell.recipe)))
    if bool(declared) != bool(own):
        said = document.modifications
        place = document.place(GENERAL) if said is None else said.place
        yield place, "modifications", repr(declared) if declared else "none", own or "none"


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
