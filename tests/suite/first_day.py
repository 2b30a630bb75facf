"""A lab's first day, rehearsed: a pytest plug-in that gives the R300's table a recipe that a CPU trains in seconds.

The device is tests/fake_kunlunxin, in any of its states; the session, its ranks and their training are real.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import fixtures.plugin
from expected import Device, load_devices
from tests.fake_machine import FAKE_KUNLUNXIN
from tests.rehearsal import RECIPE

SHAPES = {"train_images": 64, "val_images": 32, "seed": 3}  # pictures of 128 pixels at most


def small(*arguments: Any) -> dict[str, Device]:
    """Return the shipped devices, the R300's with the small recipe at one image a step."""
    devices = load_devices(*arguments)
    r300 = devices["r300"]
    recipe = replace(RECIPE, workers=1)
    cells = tuple(replace(cell, recipe=recipe, batch_size=1, learning_rate=0.01) for cell in r300.cells)
    devices["r300"] = replace(r300, cells=cells, shapes=SHAPES)
    return devices


fixtures.plugin.load_devices = small
if str(FAKE_KUNLUNXIN) not in sys.path:
    sys.path.append(str(FAKE_KUNLUNXIN))
