"""A lab's first day, rehearsed: a pytest plug-in that gives the R300's table a recipe that a CPU trains in seconds.

The device is tests/fake_kunlunxin, in any of its states; the session, its ranks and their training are real.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import fixtures.plugin
from expected import Device, load_devices
from tests.fake_machine import FAKE_KUNLUNXIN
from tests.rehearsal import RECIPE
from tests.support import ROOT

SHAPES = {"train_images": 64, "val_images": 32, "seed": 3}  # pictures of 128 pixels at most


def machine(folder: Path, **state: str) -> dict[str, str]:
    """Return the environment variables of a session on a machine in the state that fake_kunlunxin's variables say.

    A value "" in `state` takes a variable away.
    """
    found = {
        "PATH": os.pathsep.join([str(FAKE_KUNLUNXIN), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(FAKE_KUNLUNXIN), str(ROOT)]),
        "FAKE_XPU_CALLS": str(folder / "calls.jsonl"),
        "FAKE_XPU_USED_MIB": "2048",
        **state,
    }
    return {name: text for name, text in found.items() if text}


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
