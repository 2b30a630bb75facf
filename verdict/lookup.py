"""Which cell of the tables a stored run is of."""

from __future__ import annotations

from dataclasses import replace
from typing import Mapping

from evidence.bundle import Evidence
from evidence.errors import SuiteError
from expected import Cell, Device, split_card

OWN_DATA = "the table's numbers belong to the generated data set, not to the one of --data"


def find_cell(evidence: Evidence, devices: Mapping[str, Device]) -> tuple[Device, Cell]:
    """The cell that run.json names, and its device; without numbers where these belong to other data than the run's.

    Raises SuiteError where run.json cannot be read, or names a cell that no table has.
    """
    if evidence.run is None:
        raise SuiteError(f"{evidence.path}: cannot tell which cell was run: {'; '.join(evidence.problems)}")
    wanted, card = split_card(evidence.run.cell.id)
    for device in devices.values():
        for cell in device.cells:
            if cell.id == wanted:
                found = replace(cell, card=card)
                return device, found.without_numbers(OWN_DATA) if on_other_data(evidence, device) else found
    known = ", ".join(cell.id for device in devices.values() for cell in device.cells)
    raise SuiteError(f"{evidence.path}: found cell {wanted} in run.json, expected one of the shipped tables: {known}")


def on_other_data(evidence: Evidence, device: Device) -> bool:
    """Whether the device has a generated data set and the run, by its own run.json, was given another."""
    return device.shapes is not None and evidence.run is not None and evidence.run.own_data
