"""Makes a device file of a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

from evidence.text import visible
from expected.documents.model import Document, DocumentError, Place, Row, Stated
from expected.documents.names import vendor_of
from expected.documents.quoting import one_line, shown
from expected.documents.words import (
    NO_MODIFICATION,
    VENDORS,
    Vendor,
    plain_word,
)
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
    facts, problems = _facts(document, given)
    problems = [*(one.line(document.name) for one in document.errors), *problems]
    if problems:
        raise DocumentError("\n".join(problems))
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


def modifications_of(document: Document) -> str:
    """Return the declared modifications besides batch size and learning rate; "" for none."""
    said = document.modifications
    if said is None or plain_word(said.text) in NO_MODIFICATION:
        return ""
    return one_line(shown(said.text))


def _facts(document: Document, given: Given) -> tuple[_Facts, list[str]]:
    """Return what is known of the device, and a line for each fact that has to be given."""
    text = one_line(document.named) or short_name(document)
    first, _, rest = text.partition(" ")
    known = VENDORS.get((given.vendor or first).casefold()) or (None if given.vendor else vendor_of(text)[0])
    known = known or Vendor("", "", "")
    vendor, backend = given.vendor or known.name, given.backend or known.backend
    timing = given.timing or ("device" if document.in_step else known.timing)
    place = Place(1, 1) if document.device is None else document.device.place
    problems = [
        f"{what} is not in the document and no vendor {given.vendor or first!r} is known: give --{what}"
        for what, value in (("vendor", vendor), ("backend", backend), ("timing", timing))
        if not value
    ]
    if not vendor and not rest:
        names = ", ".join(one.name for one in VENDORS.values())
        problems = [
            f"vendor is not in the document: give --vendor; of {names} backend and timing are known, of another one "
            "give --backend and --timing too"
        ]
    name = given.name or _without_vendor(text, vendor, known)
    facts = _Facts(vendor, name, backend, timing, known.smi if backend == known.backend else "")
    return facts, [f"{document.name}:{place}: {problem}" for problem in problems]


def _without_vendor(text: str, vendor: str, known: Vendor) -> str:
    """Return a device's name without the vendor's before it: "昆仑芯R300" is an R300."""
    names = (f"{vendor} ", *(one for one in known.aliases if not one.isascii()))
    for name in names:
        if text[: len(name)].casefold() == name.casefold() and text[len(name) :].strip():
            return text[len(name) :].strip()
    return text


def _device(document: Document, given: Given, facts: _Facts) -> list[str]:
    why_backend = "given, not in the document" if given.backend else "not in the document: known of this vendor"
    why_timing = (
        "given, not in the document"
        if given.timing
        else "the document's own remark on p_core"
        if document.in_step
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
    changed = modifications_of(document)
    notes = [f"The document declares modifications: {changed}"] if changed else []
    if changed:
        lines.append("# Where this is no part of the benchmark's recipe, it belongs into [recipe].")
    if document.sentences:
        said = "; ".join(repr(one_line(shown(one.text))) for one in document.sentences)
        lines.append("# Sentences beside the tables: whether one restricts the numbers has to be decided by a person.")
        notes.append(f"Beside its tables the document says: {said}")
    return [*lines, f"notes = {_string('. '.join(notes))}"] if notes else lines


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
    notes = [f"The table says: {'; '.join(row.remarks)}."] if row.remarks else []
    if row.given:
        printed = one_line(visible(row.hyper.text))
        notes.insert(0, f"The table prints {printed!r}; what it leaves out was given when it was imported.")
    if notes:
        lines.append(f"note = {_string(' '.join(notes))}")
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
