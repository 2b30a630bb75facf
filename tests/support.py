"""What tests of several packages need: the shipped tables, a cell of the CPU's, and a session's options."""

from __future__ import annotations

import shlex
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, Mapping

from evidence.verdict import JudgedCell
from expected import Cell, Device, load_devices
from fixtures.options.session import Options
from trainer.settings import pytest_options

ROOT = Path(__file__).resolve().parents[1]


@lru_cache(maxsize=None)
def _devices() -> Mapping[str, Device]:
    return load_devices()


def device_of(marker: str) -> Device:
    """Return a shipped device, which is not to be altered: `replace` makes another one of it."""
    return _devices()[marker]


def cell_of(marker: str, topology: str) -> Cell:
    """Return the first cell of a shipped device at a topology."""
    return next(cell for cell in device_of(marker).cells if str(cell.topology) == topology)


def options_for(folder: Path, **changes: Any) -> Options:
    """Return the options of a command line without any, with runs under `folder`."""
    names = {one["dest"] for one in pytest_options().values()}
    training = {name: changes.pop(name) for name in [*changes] if name in names}
    return Options(**{"runs": folder / "runs", "training": training, **changes})


def judged_cell(device: str = "r300", topology: str = "1x8") -> JudgedCell:
    """Return a cell as a verdict names it."""
    return JudgedCell(f"{device}-{topology}-fp32-bs16", device, topology, "fp32", 16, 0.16)


def python_script(text: str) -> str:
    """Return an executable file's content that runs `text` in this Python, whose path a #! line may not hold.

    A space ends a path there. The shell runs the second line, which is a string to Python.
    """
    return f"#!/bin/sh\n''''exec {shlex.quote(sys.executable)} \"$0\" \"$@\" # '''\n{text}"
