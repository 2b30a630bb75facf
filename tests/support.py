"""What tests of several packages need: the shipped tables, a cell of the CPU's, and a session's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evidence.verdict import JudgedCell
from expected import Cell, Device, load_devices
from fixtures.options.session import Options

ROOT = Path(__file__).resolve().parents[1]


def device_of(marker: str) -> Device:
    """Return a shipped device."""
    return load_devices()[marker]


def cell_of(marker: str, topology: str) -> Cell:
    """Return the first cell of a shipped device at a topology."""
    return next(cell for cell in device_of(marker).cells if str(cell.topology) == topology)


def options_for(folder: Path, **changes: Any) -> Options:
    """Return the options of a command line without any, with runs under `folder`."""
    values: dict[str, Any] = {
        "topologies": (),
        "precision": None,
        "data": None,
        "backbone": None,
        "steps": None,
        "epochs": None,
        "runs": folder / "runs",
        "stall_timeout_s": 300.0,
        "scenario": None,
    }
    values.update(changes)
    return Options(**values)


def judged_cell(device: str = "r300", topology: str = "1x8") -> JudgedCell:
    """Return a cell as a verdict names it."""
    return JudgedCell(f"{device}-{topology}-fp32-bs16", device, topology, "fp32", 16, 0.16)
