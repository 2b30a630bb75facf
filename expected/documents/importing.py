"""Makes the text of a device file of a document; what no document knows is given, or known of the vendor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

from expected.documents.model import Document, DocumentError, Place, Row, Stated
from expected.documents.quoting import one_line, shown, visible
from expected.documents.vendors import VENDORS, Vendor
from expected.documents.words import NO_MODIFICATION, plain_word
from expected.metrics import METRICS
from expected.model import NOT_APPLICABLE, PUBLISHED

_METHODS = {
    "host": "p_core with a host clock and no device synchronisation",
    "device": "p_core in step with the device",
}
_REST_OF_METHOD = (
    "e2e_time includes set-up; p_whole is images over the total time; p_train leaves the evaluation after each epoch "
    "out; p_core leaves data input out."
)


@dataclass(frozen=True)
class Given:
    """What a person says of a device because its document does not; "" where the document or the vendor decides."""

    marker: str
    backend: str = ""
    vendor: str = ""
    name: str = ""
    timing: str = ""
    edition: str = ""


@dataclass(frozen=True)
class _Names:
    vendor: Vendor | None
    vendor_name: str
    name: str


def device_toml(document: Document, given: Given) -> str:
    """The text of the device file `<marker>.toml`; pure, and not yet checked by the loader.

    Raises DocumentError, each line with its place, for a document with errors and for what is neither given nor known.
    """
    if document.errors:
        raise DocumentError("\n".join(one.line(document.name) for one in document.errors))
    names = _names(document, given)
    lines = [
        f"# Made from {_string(visible(document.name))} by `python -m expected import`. The form: see r300.toml.",
        "schema = 1",
        "",
        *_device(document, given, names),
        "",
        *_source(document, given, names),
        "",
        "[units]",
        *(f"{metric.name} = {_string(metric.unit)}" for metric in METRICS.values()),
        *_environment(document),
    ]
    for row in document.rows:
        lines += ["", *_cell(row)]
    return "\n".join(lines) + "\n"


def short_name(document: Document) -> str:
    """The device's short name as the document prints it, vendor first."""
    return "" if document.device is None else one_line(shown(document.device.text))


def modifications(document: Document) -> str:
    """What the document declares to be changed besides batch size and learning rate; "" for nothing."""
    said = document.modifications
    if said is None or plain_word(said.text) in NO_MODIFICATION:
        return ""
    return one_line(shown(said.text))


def card_memory_gib(document: Document) -> float | None:
    """The capacity that every row prints, None where none does."""
    found = [row.metrics["mem"].capacity for row in document.rows]
    return next((one for one in found if one is not None), None)


def _names(document: Document, given: Given) -> _Names:
    text = short_name(document)
    first, _, rest = text.partition(" ")
    known = VENDORS.get((given.vendor or first).casefold())
    vendor = given.vendor or ("" if known is None else known.name)
    if given.name:
        name = given.name
    elif vendor and rest and first.casefold() == vendor.casefold():
        name = rest
    else:
        prefix = f"{vendor} ".casefold()
        is_prefixed = bool(vendor) and text[: len(prefix)].casefold() == prefix
        name = text[len(prefix) :].strip() if is_prefixed else text
    problems = [
        f"{what} is not in the document and no vendor {given.vendor or first!r} is known: give --{what}"
        for what, value in (
            ("vendor", vendor),
            ("backend", given.backend or (known and known.backend)),
            ("timing", given.timing or (known and known.timing)),
        )
        if not value
    ]
    if problems:
        place = Place(1, 1) if document.device is None else document.device.place
        raise DocumentError("\n".join(f"{document.name}:{place}: {problem}" for problem in problems))
    return _Names(known, vendor, name)


def _device(document: Document, given: Given, names: _Names) -> list[str]:
    known = names.vendor
    backend = given.backend or (known.backend if known else "")
    timing = given.timing or (known.timing if known else "")
    why_backend = "given, not in the document" if given.backend else "not in the document: known of this vendor"
    why_timing = (
        "given, not in the document"
        if given.timing
        else "not in the document: FlagPerf reads p_core with the host's clock, without waiting for the device"
    )
    lines = [
        "[device]",
        f"marker = {_string(given.marker)}",
        f"name = {_string(names.name)}",
        f"vendor = {_string(names.vendor_name)}",
        f"backend = {_string(backend)} # {why_backend}",
    ]
    memory = card_memory_gib(document)
    if memory is not None:
        lines.append(f"card_memory_gib = {memory!r}")
    cards = max((row.topology.cards for row in document.rows), default=1)
    if cards > 1:
        lines.append(f"cards_per_host = {cards} # the most that a row of the document uses")
    lines.append(f"timing = {_string(timing)} # {why_timing}")
    if known and known.smi and backend == known.backend:
        lines.append(f"smi = {_string(known.smi)} # not in the document: known of this vendor")
    return lines


def _source(document: Document, given: Given, names: _Names) -> list[str]:
    whose = f"FlagPerf faster_rcnn-pytorch, {names.vendor_name} {names.name}"
    timing = given.timing or (names.vendor.timing if names.vendor else "host")
    lines = ["[source]", f"document = {_string(f'{whose} ({visible(document.name)})')}"]
    if given.edition:
        lines.append(f"edition = {_string(given.edition)}")
    lines.append(f"method = {_string(f'{_METHODS[timing]}; {_REST_OF_METHOD}')}")
    changed = modifications(document)
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
    """`text` as a basic string of TOML; control characters as visible escapes, since no file may hold them."""
    return '"' + "".join(_ESCAPES.get(one, one) for one in visible(text)) + '"'
