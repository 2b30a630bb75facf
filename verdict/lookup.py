"""The cell of the tables that a stored run is of, and which of its expectations changed since the run was made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping

from evidence.bundle import Evidence
from evidence.codec import FieldError, decode_fields, number, table, text
from evidence.errors import SuiteError
from evidence.run_file import PRECISIONS, RunCell
from expected import (
    ALL_METRICS,
    NOT_APPLICABLE,
    Cell,
    Device,
    Expectation,
    ExpectationError,
    Topology,
    split_place,
)

OWN_DATA = "the table's numbers belong to the generated data set, not to the one of --data"
NOT_RECORDED = "run.json does not record what was expected when the run was made"


def find_cell(evidence: Evidence, devices: Mapping[str, Device]) -> tuple[Device, Cell]:
    """Return the device and the cell that run.json names; without numbers if these belong to other data than the run's.

    Raises SuiteError if run.json cannot be read, or names a cell that no table has.
    """
    if evidence.run is None:
        raise SuiteError(f"{evidence.path}: cannot tell which cell was run: {'; '.join(evidence.problems)}")
    wanted, place = split_place(evidence.run.cell.id)
    if evidence.run.protocol == "smoke":
        ran = evidence.run.cell.device, evidence.run.cell.topology, evidence.run.cell.precision
        devices = {name: with_smoke_cell(one, *ran) for name, one in devices.items()}
    for device in devices.values():
        for cell in device.cells:
            if cell.id == wanted:
                found = replace(cell, **place)
                return device, found.without_numbers(OWN_DATA) if on_other_data(evidence, device) else found
    known = ", ".join(cell.id for device in devices.values() for cell in device.cells)
    raise SuiteError(f"{evidence.path}: found cell {wanted} in run.json, expected one of the shipped tables: {known}")


def with_smoke_cell(device: Device, marker: str, topology: str, precision: str) -> Device:
    """Return the device with the cell of a smoke run in place of the row of that id, or beside all rows.

    One of another device, or of a topology or precision that cannot be, is left out.
    """
    if device.marker != marker or precision not in PRECISIONS:
        return device
    try:
        cell = device.smoke_cell(Topology.parse(topology), precision)
    except ExpectationError:
        return device
    return replace(device, cells=(cell, *(other for other in device.cells if other.id != cell.id)))


def on_other_data(evidence: Evidence, device: Device) -> bool:
    """Return whether the device has a generated data set and the run, by its own run.json, was given another."""
    return device.shapes is not None and evidence.run is not None and evidence.run.own_data


def changes(evidence: Evidence, cell: Cell) -> tuple[str, ...]:
    """Return the metrics whose expectation in `cell` is not the one that run.json recorded, as "metric: then; now".

    Changes no verdict. Empty for evidence of another cell, or whose run.json cannot be read.
    """
    run = evidence.run
    if run is None or run.cell.id != cell.id:
        return ()
    recorded = {name: _recorded(name, run.expectation or {}) for name in ALL_METRICS}
    if not any(recorded.values()):
        return (NOT_RECORDED,)
    texts = (
        _change(name, recorded[name], run.cell, cell)
        for name in ALL_METRICS
        if name in cell.expectations or recorded[name] is not None
    )
    return tuple(one for one in texts if one)


def _recorded(name: str, record: Mapping[str, Any]) -> Expectation | None:
    """Return the expectation as the run recorded it; None if it is absent or damaged."""
    try:
        values = decode_fields(
            table(record.get(name)),
            {"state": text},
            {**dict.fromkeys(("value", "low", "high", "capacity"), number), "clock": text},
        )
    except FieldError:
        return None
    return Expectation(**{**values, "clock": values["clock"] or ""})


def _change(name: str, then: Expectation | None, run_cell: RunCell, cell: Cell) -> str:
    """Return what changed for one metric, or "". A changed source of the same number is no change."""
    known = cell.expectation(name)
    timing = cell.timing if run_cell.timing is None else run_cell.timing
    now = _in_words(name, known, cell.timing)
    if then is None:
        unknown = f"{name}: not recorded when the run was made; now {now}"
        return "" if known.state == NOT_APPLICABLE else unknown
    before = _in_words(name, then, timing)
    return "" if before == now else f"{name}: {before} when the run was made; now {now}"


def _in_words(name: str, known: Expectation, timing: str) -> str:
    """Return everything of an expectation that can decide, numbers to the last digit."""
    unit = ALL_METRICS[name].unit
    words = [known.state.replace("_", " ")]
    if known.has_number:
        words = [f"{known.state} {known.value!r}" + ("" if unit == "0..1" else f" {unit}")]
        words += [f"at least {known.low!r}"] if known.low is not None else []
        words += [f"at most {known.high!r}"] if known.high is not None else []
        words += [f"timed by the {known.clock or timing}"] if name == "p_core" else []
    words += [f"device of {known.capacity!r} GiB"] if known.capacity is not None else []
    return ", ".join(words)
