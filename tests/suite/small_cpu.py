"""A pytest plugin for tests: the CPU's table with a data set of 32 images, and a tight bound on memory if asked.

With TIGHT_MEMORY in the environment, no run can meet that bound.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import fixtures.plugin
from expected import PUBLISHED, Device, Expectation, load_devices

TIGHT = Expectation(PUBLISHED, value=1e-6, high=1e-6, source="a test")


def changed(*arguments: Any) -> dict[str, Device]:
    """Return the shipped devices, the CPU's changed."""
    devices = load_devices(*arguments)
    cpu, mem = devices["cpu"], {"mem": TIGHT} if "TIGHT_MEMORY" in os.environ else {}
    cells = tuple(replace(cell, expectations={**cell.expectations, **mem}) for cell in cpu.cells)
    devices["cpu"] = replace(cpu, cells=cells, shapes={"train_images": 32, "val_images": 12, "seed": 1})
    return devices


fixtures.plugin.load_devices = changed
