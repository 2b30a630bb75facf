"""Loads a site's baseline file: accepted values for what the vendor does not publish, and waivers."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from calendar import monthrange
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Mapping, Sequence, Tuple

from expected.metrics import ALL_METRICS, FURTHER_METRICS, LARGEST_TOLERANCE, Metric, default_bounds
from expected.model import ACCEPTED, DERIVED, NOT_APPLICABLE, PUBLISHED, UNPUBLISHED, Cell, Device, Expectation
from expected.toml_file import ExpectationError, Range, Table, describe, parse_toml, read_file

SITE_SCHEMA = 1
MIN_RUNS = 3
"""Fewest runs behind an accepted value: with two, an outlier cannot be identified."""
ACCEPTED_IN = "accepted in "
"""Prefix of the `source` of an accepted value."""

SIMULATED_DEVICE = "virtual-"
"""Prefix of the cell ids for which simulated runs may be accepted."""

SKEW, HEALTH, REPEATABLE, DEVICES_AGREE = "skew", "health", "repeatable", "devices_agree"
"""The questions of suite/ that a waiver may name beside the metrics: is a rank a straggler, has a device a fault, does
it give the same bits again, do all give the same? Also an operator, pass and dtype: "conv2d wgrad fp32".
"""
_OPERATOR = re.compile(r"[a-z0-9]+( [a-z0-9]+)+")

Key = Tuple[str, str]
"""Cell id and metric."""

_TOP_KEYS = ("schema", "accepted", "waiver")
_ACCEPTED_KEYS = ("cell", "metric", "unit", "value", "tolerance", "clock", "provenance")
_PROVENANCE_KEYS = (
    *("runs", "dates", "measured", "trimmed", "protocol", "simulated"),
    *("card", "driver", "versions", "annotations"),
)
_WAIVER_KEYS = ("cell", "metric", "item", "reason", "ticket", "until")
_WAIVED_TABLES = ("software", "packages")
"""The tables of a device's environment whose items can be waived: the machine has to be the stated one."""
_SHA256 = re.compile("[0-9a-f]{64}")
_DATE = re.compile("([0-9]{4})-([0-9]{2})-([0-9]{2})")


@dataclass(frozen=True)
class Waiver:
    """A site's decision to ship although something of a cell does not pass; `until` is its last day.

    `metric` is a metric, or an item of the environment.
    """

    cell: str
    metric: str
    reason: str
    ticket: str
    until: str

    def holds_on(self, today: str) -> bool:
        """Return whether the waiver is in force on the ISO date `today`. Raises ExpectationError if that is no date."""
        if not is_date(today):
            raise ExpectationError(f"found today {today!r}, expected a day of the calendar, YYYY-MM-DD")
        return today <= self.until  # ISO dates sort as texts


@dataclass(frozen=True)
class Site:
    """A baseline file; `accepted` is by cell id and metric, in the file's order.

    `accepted_on` has the day of the newest run behind each of these values, `sha256` is the file's digest.
    """

    path: Path
    accepted: Mapping[Key, Expectation] = field(hash=False)
    waivers: tuple[Waiver, ...]
    accepted_on: Mapping[Key, str] = field(default_factory=dict, hash=False)
    sha256: str = ""

    def apply(self, cell: Cell) -> Cell:
        """Return the cell with the site's values for unpublished metrics; published numbers never change.

        A value beside a published number shows that the site's devices exceed it by far (`Expectation.covered`). Apply
        Cell.without_numbers afterwards, not before: its reason holds for the site's values too.
        """
        table = {}
        for name in dict.fromkeys((*cell.expectations, *FURTHER_METRICS)):
            known, own = cell.expectation(name), self.accepted.get((cell.id, name))
            if own is not None and known.state == UNPUBLISHED:
                known = own
            elif own is not None and known.state == PUBLISHED:
                known = replace(known, covered=own.value)
            if name in cell.expectations or known.has_number:
                table[name] = known
        return replace(cell, expectations=table)

    def waiver(self, cell_id: str, metric: str) -> Waiver | None:
        """Return the waiver of a metric or item of a cell, in force or not; None if there is none."""
        return next((one for one in self.waivers if (one.cell, one.metric) == (cell_id, metric)), None)


def load_site(path: str | Path, devices: Mapping[str, Device]) -> Site:
    """Load the baseline file at `path` and check it against the tables of `devices`.

    Raises ExpectationError, naming file and key, for anything missing, unknown, out of range or repeated. Messages
    count blocks from 1.

    >>> site = load_site("site.toml", load_devices())  # doctest: +SKIP
    >>> site.apply(cell).expectations["p_core"].value  # doctest: +SKIP
    55.1
    """
    path = Path(path)
    try:
        content = read_file(path)
    except ExpectationError as error:
        raise ExpectationError(f"{error}; `conformance accept` makes one of three runs (docs/baselines.md)") from None
    return replace(check_site(parse_toml(content, path), path, devices), sha256=hashlib.sha256(content).hexdigest())


def check_site(found: Mapping[str, Any], path: Path, devices: Mapping[str, Device]) -> Site:
    """Check `found`, the parsed contents of the baseline file at `path`; otherwise as load_site."""
    # Checked before unknown keys: those of a later schema are no typing errors.
    Table(path.name, "", found, tuple(found)).integer("schema", Range(SITE_SCHEMA, SITE_SCHEMA))
    top = Table(path.name, "", found, _TOP_KEYS)
    cells = {cell.id: cell for device in devices.values() for cell in device.cells}
    accepted: dict[Key, Expectation] = {}
    accepted_on: dict[Key, str] = {}
    for block in top.blocks("accepted", _ACCEPTED_KEYS):
        key = _read_key(block, cells, tuple(accepted))
        accepted[key] = _read_accepted(block, ALL_METRICS[key[1]], cells[key[0]], path.name)
        accepted_on[key] = max(block.table("provenance", _PROVENANCE_KEYS).texts("dates"))[:10]
    waivers: dict[Key, Waiver] = {}
    for block in top.blocks("waiver", _WAIVER_KEYS):
        earlier = tuple(waivers)
        key = (
            _read_item(block, devices, earlier)
            if "item" in block
            else _read_key(block, cells, earlier, (SKEW, HEALTH, REPEATABLE, DEVICES_AGREE))
        )
        waivers[key] = Waiver(*key, _read_reason(block), _read_ticket(block), _read_date(block, "until"))
    return Site(path, accepted, tuple(waivers.values()), accepted_on)


def is_date(text: str) -> bool:
    """Return whether `text` is a day of the calendar, written as YYYY-MM-DD."""
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day = map(int, match.groups())
    return year > 0 and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]


def _read_key(block: Table, cells: Mapping[str, Cell], earlier: Sequence[Key], questions: Sequence[str] = ()) -> Key:
    """Return (cell id, metric) of a block; refuse a repeated pair and a metric that does not apply.

    `questions` may stand in place of a metric, and then an operator, pass and dtype too.
    """
    cell, metric = block.choice("cell", tuple(cells)), block.value("metric")
    if not (questions and isinstance(metric, str) and _OPERATOR.fullmatch(metric)):
        metric = block.choice("metric", (*ALL_METRICS, *questions))
    applies = metric not in ALL_METRICS or cells[cell].expectation(metric).state != NOT_APPLICABLE
    if not applies or (metric in (SKEW, DEVICES_AGREE) and cells[cell].topology.ranks == 1):
        raise block.fault("metric", f"found {metric}, which does not apply to {cell}; remove this block")
    if (cell, metric) in earlier:
        number = earlier.index((cell, metric)) + 1
        raise block.fault("metric", f"found {metric} of {cell}, which block {number} of its kind has already")
    return cell, metric


def _read_item(block: Table, devices: Mapping[str, Device], earlier: Sequence[Key]) -> Key:
    """Return (cell id, item) of a waiver of the environment; refuse items of the machine and a repeated pair."""
    owners = {cell.id: device for device in devices.values() for cell in device.cells}
    cell = block.choice("cell", tuple(owners))
    if "metric" in block:
        raise block.fault("item", "found an item beside a metric; give each a block of its own")
    tables = owners[cell].environment
    items = [name for table in _WAIVED_TABLES for name in tables.get(table, {})]
    if block.text("item") in tables.get("hardware", {}):
        raise block.fault(
            "item", f"found {block.text('item')}: the machine has to be the stated one; remove this block"
        )
    item = block.choice("item", tuple(items))
    if (cell, item) in earlier:
        number = earlier.index((cell, item)) + 1
        raise block.fault("item", f"found {item} of {cell}, which block {number} of its kind has already")
    return cell, item


def _read_accepted(block: Table, metric: Metric, cell: Cell, file: str) -> Expectation:
    known = cell.expectation(metric.name)
    block.choice("unit", (metric.unit,))
    value = block.number("value", metric.allowed, metric.spoken_unit)
    if known.state == DERIVED or (known.state == PUBLISHED and not metric.too_good(value, known.value or 0.0)):
        how = "the vendor publishes" if known.state == PUBLISHED else "follows from what the vendor publishes:"
        raise block.fault(
            "metric",
            f"found {metric.name}, for which {how} {known.value!r}; a site cannot replace that number, "
            "so remove this block",
        )
    if known.capacity is not None and value > known.capacity:
        raise block.fault("value", f"found {value!r}, above the device's capacity of {known.capacity!r} {metric.unit}")
    tolerance = block.number("tolerance", Range(0, LARGEST_TOLERANCE[metric.name]))
    low, high = default_bounds(metric, value, tolerance, known.capacity)
    if (low is not None and low not in metric.allowed) or high == float("inf"):
        raise block.fault("value", f"found {value!r}, which with tolerance {tolerance!r} leaves no bound that decides")
    source = ACCEPTED_IN + f"{file}: {_read_provenance(block, metric, value)}"
    provenance = block.table("provenance", _PROVENANCE_KEYS)
    # The first word; what follows is the limit of steps or epochs.
    protocol, annotations = provenance.text("protocol").split()[0], _read_annotations(provenance)
    clock = _read_clock(block, metric, cell.timing if known.state == PUBLISHED else "device")
    return Expectation(ACCEPTED, value, low, high, known.capacity, source, clock, protocol, annotations)


def _read_annotations(provenance: Table) -> dict[str, str]:
    """Return the SHA-256 of the annotation files that the runs read, by split; {} for a file of an earlier version."""
    if "annotations" not in provenance:
        return {}
    table = provenance.free_table("annotations")
    digests = {split: table.text(split) for split in table.given()}
    for split, digest in digests.items():
        if _SHA256.fullmatch(digest) is None:
            raise table.fault(split, f"found {digest!r}, expected the 64 hexadecimal digits of a SHA-256")
    return digests


def _read_clock(block: Table, metric: Metric, clock: str) -> str:
    """Return the clock of a p_core, which has to be `clock`: the device's, unless a host's reading is published."""
    if metric.name == "p_core":
        return block.choice("clock", (clock,))
    if "clock" in block:
        raise block.fault("clock", "belongs to p_core only; remove it")
    return ""


def _read_provenance(block: Table, metric: Metric, value: float) -> str:
    """Return the provenance of a value in words; refuse a value that its runs do not support."""
    table = block.table("provenance", _PROVENANCE_KEYS)
    runs, dates, trimmed = table.texts("runs"), table.texts("dates"), table.texts("trimmed")
    measured = table.numbers("measured", metric.allowed, metric.spoken_unit)
    for key, count in (("dates", len(dates)), ("measured", len(measured))):
        if count != len(runs):
            raise table.fault(key, f"found {count} entries, expected one for each of the {len(runs)} runs")
    if len(set(runs)) < len(runs):
        raise table.fault("runs", "found a run twice, expected different ones")
    if not set(trimmed) <= set(runs):
        raise table.fault("trimmed", "found a run that is not among runs")
    kept = [reading for run, reading in zip(runs, measured) if run not in trimmed]
    if len(kept) < MIN_RUNS:
        raise table.fault("runs", f"found {len(kept)} runs that were not trimmed, expected {MIN_RUNS} or more")
    if not min(kept) <= value <= max(kept):
        raise block.fault(
            "value",
            f"found {value!r}, expected a mean of what its runs measured, {min(kept)!r} to {max(kept)!r}; "
            "accept runs instead of changing the number",
        )
    for text in dates:
        if not is_date(text[:10]):
            raise table.fault("dates", f"found {text!r}, expected it to begin with YYYY-MM-DD")
    for key in ("protocol", "card", *(("driver",) if "driver" in table else ())):
        table.text(key)
    versions = table.free_table("versions")
    for key in versions.given():
        versions.text(key)
    if table.flag("simulated") and not block.text("cell").startswith(SIMULATED_DEVICE):
        raise table.fault("simulated", "found true; what simulated devices did is not a baseline for real ones")
    simulated = " (simulated)" if table.flag("simulated") else ""
    return f"mean of {len(kept)} runs, {min(dates)[:10]} to {max(dates)[:10]}{simulated}"


def _read_reason(block: Table) -> str:
    """Return the reason of a waiver, which has to be words: two, or four characters of a script without spaces."""
    reason = block.text("reason")
    words = re.findall(r"[^\W\d_]{2,}", reason)
    without_spaces = [one for one in reason if unicodedata.category(one) == "Lo"]
    if len(words) < 2 and len(without_spaces) < 4:
        raise block.fault("reason", f"found {describe(reason)}, expected the reason in words")
    return reason


def _read_ticket(block: Table) -> str:
    ticket = block.text("ticket")
    if not any(one.isalnum() for one in ticket):
        raise block.fault("ticket", f"found {describe(ticket)}, expected the name of a ticket")
    return ticket


def _read_date(block: Table, key: str) -> str:
    """Return a date, bare or quoted, as ISO text."""
    found: Any = block.value(key, "a date, YYYY-MM-DD")
    kinds = (bool, int, float, list, dict)
    text = found if isinstance(found, str) else "" if isinstance(found, kinds) else str(found)
    if not is_date(text):
        raise block.fault(key, f"found {describe(found)}, expected a day of the calendar, YYYY-MM-DD")
    return text
