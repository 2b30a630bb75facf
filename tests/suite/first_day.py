"""A pytest plug-in for tests: the R300's table with a recipe that a CPU trains in seconds, where fake_kunlunxin is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fixtures.plugin
from expected import Device, load_devices
from tests.rehearsal import RECIPE

SHAPES = {"train_images": 64, "val_images": 32, "seed": 3}  # 128 pixels at most


def small(*arguments: Any) -> dict[str, Device]:
    """Return the shipped devices, the R300's with the small recipe, one image a step, and no published number."""
    devices = load_devices(*arguments)
    r300 = devices["r300"]
    cells = tuple(replace(cell, recipe=RECIPE, batch_size=1, learning_rate=0.01) for cell in r300.cells)
    devices["r300"] = replace(r300, cells=cells, shapes=SHAPES)
    return devices


fixtures.plugin.load_devices = small
