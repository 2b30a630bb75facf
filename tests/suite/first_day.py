"""A lab's first day, rehearsed: a pytest plug-in that gives the R300's table a recipe that a CPU trains in seconds.

The device is tests/fake_kunlunxin, in any of its states; the session, its ranks and their training are real. Ranks of a
forked session (`run_suite`) are forked too.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

import fixtures.boot.boot
import fixtures.plugin
import tests.forked
from expected import Device, load_devices
from tests.fake_machine import FAKE_KUNLUNXIN
from tests.forked_ranks import ForkedRanks
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


def rank(*flags: str) -> int:
    """Be a rank on the machine."""
    sys.path.insert(0, str(FAKE_KUNLUNXIN))
    return tests.forked.rank(*flags)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: Any) -> None:
    """Fork the ranks where the session is forked."""
    if config.pluginmanager.has_plugin("tests.forked_ranks"):
        ForkedRanks.program = "tests.suite.first_day:rank"
        fixtures.boot.boot.control_of = lambda cell, options, order, run_dir: ForkedRanks(order, run_dir)


fixtures.plugin.load_devices = small
if str(FAKE_KUNLUNXIN) not in sys.path:
    sys.path.append(str(FAKE_KUNLUNXIN))
