"""A rehearsal of a gated R300 session: the suite and the trainer are real, the machine is a double.

A pytest plug-in (`-p tests.rehearsal`) of sessions that tests run. The vendor's document, its environment and its cells
are those of `expected/r300.toml`; the recipe is a declared small one, on a generated data set, as the real one does not
fit here. The device is Kunlunxin's backend over the doubles of fake_machine.py, with the planted times of the virtual
device on its simulated clock, and so the session says "simulated". What the small model would need hours to learn is
planted too: detections of the generated shapes by their colour, of more images with every step.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import fixtures.plugin
import fixtures.select.selection
import tests.forked
import trainer.devices.kunlunxin
import verdict.checks.identity
from evidence.codec import decode, dumps, encode, parse_object
from expected import Device, Recipe, load_devices
from tests.fake_machine import FAKE_KUNLUNXIN, FakeMachine
from tests.forked_ranks import ForkedRanks
from trainer.devices.base import Backend, DeviceInfo
from trainer.devices.kunlunxin import KunlunxinBackend
from trainer.devices.scenario import Scenario
from trainer.devices.virtual import VirtualBackend

VARIABLE = "REHEARSAL_MACHINE"
"""Names the folder of the machine, which has `machine.json` beside what the machine's probe reads."""

RECIPE = Recipe(
    model="fasterrcnn_tiny",
    num_classes=4,
    pretrained_backbone=False,
    warmup_steps=5,
    lr_milestones=(),
    workers=0,
)
SHAPES = {"train_images": 384, "val_images": 64, "seed": 3}
SCENARIO = Scenario(name="Kunlunxin XPU", timing="windows", noise=0.002, image_ms=50.0)
_LEARNT_AFTER = 60  # steps, two an epoch; the recipe's target is reached before


def rehearsed(device: Device) -> Device:
    """Return the R300 as its table has it, with the declared recipe."""
    cells = tuple(replace(cell, recipe=RECIPE) for cell in device.cells)
    return replace(device, cells=cells, shapes=SHAPES)


class RehearsalBackend(VirtualBackend, KunlunxinBackend):
    """Kunlunxin's backend where there is no XPU: its calls, its tool, and the virtual device's time."""

    name = "kunlunxin"
    environment = {**VirtualBackend.environment, **KunlunxinBackend.environment}  # noqa: RUF012
    visible_devices = KunlunxinBackend.visible_devices
    copies_beside = False
    _scenario = SCENARIO

    def open(self, local_rank: int, local_world_size: int) -> DeviceInfo:
        """Bind both."""
        found = KunlunxinBackend.open(self, local_rank, local_world_size)
        VirtualBackend.open(self, local_rank, local_world_size)
        return found

    def synchronise(self) -> None:
        """Wait for both."""
        KunlunxinBackend.synchronise(self)
        VirtualBackend.synchronise(self)

    def attend(self, model: Any) -> None:
        """Register the virtual device's hooks, and the planted detections."""
        super().attend(model)
        steps, evaluated = [0], [0]

        def see(module: Any, inputs: Any, _: Any) -> Any:
            if module.training:
                steps[0] += 1
                return None
            found = []
            for image in inputs[0]:  # of every four images one more is understood now and then
                seen = evaluated[0] % 4 < 4 * steps[0] / _LEARNT_AFTER
                found.append(detections(image, seen=seen and steps[0] > 0))
                evaluated[0] += 1
            return found

        model.register_forward_hook(see)

    samplers = KunlunxinBackend.samplers
    inventory = KunlunxinBackend.inventory
    copy_stream = Backend.copy_stream
    allocator_peak_gib = Backend.allocator_peak_gib


def detections(image: Any, *, seen: bool) -> dict[str, Any]:
    """Return the bright shapes of a generated image, float32 of 0..1 [3, height, width], as torchvision returns boxes.

    A shape's colour is poor in red, green or blue by its category (trainer/data/shapes.py).
    """
    import torch

    bright = (image.max(dim=0).values > 0.6) & seen
    height, width = bright.shape
    marks = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, 1, height, width) * bright
    while True:  # each mark spreads over its shape
        spread = torch.nn.functional.max_pool2d(marks, 3, stride=1, padding=1) * bright
        if torch.equal(spread, marks):
            break
        marks = spread
    boxes, labels = [], []
    for mark in torch.unique(marks[marks > 0]):
        shape = marks[0, 0] == mark
        rows, columns = torch.where(shape)
        if len(rows) >= 16:
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            labels.append(int(image[:, shape].mean(dim=1).argmin()) + 1)
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.full((len(labels),), 0.9),
    }


def put_up(folder: Path, machine: FakeMachine) -> dict[str, str]:
    """Write a machine, and return the environment variables of a session on it."""
    machine.write(folder)
    (folder / "machine.json").write_text(dumps(encode(machine)))
    found = {**machine.variables(folder), VARIABLE: str(folder), "FAKE_XPU_USED_MIB": "28672"}
    return {name: text for name, text in found.items() if not name.startswith("PYTHON")}  # rank() puts it on sys.path


def _machine() -> tuple[Path, FakeMachine]:
    folder = Path(os.environ[VARIABLE])
    return folder, decode(FakeMachine, parse_object((folder / "machine.json").read_bytes()))


def rank(*flags: str) -> int:
    """Be a rank on the machine."""
    folder, machine = _machine()
    sys.path.insert(0, str(FAKE_KUNLUNXIN))
    trainer.devices.kunlunxin.BACKEND = RehearsalBackend
    import trainer.loop.session as session

    gather = session.gather

    def on_the_machine(*arguments: Any) -> Any:
        with contextlib.ExitStack() as held:
            held.enter_context(mock.patch.object(sys, "path", list(sys.path)))
            machine.put_on(folder, lambda owner, name, value: held.enter_context(mock.patch.object(owner, name, value)))
            return gather(*arguments, folder / "root")

    session.gather = on_the_machine
    return tests.forked.rank(*flags)


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Give the session the machine's tables, backend and ranks."""
    sys.path.append(str(FAKE_KUNLUNXIN))
    trainer.devices.kunlunxin.BACKEND = RehearsalBackend
    verdict.checks.identity.VIRTUAL_DEVICE = "r300"  # the one device that may be simulated
    fixtures.select.selection.QUICK_ONLY = ("r300",)  # full probes are too much for eight ranks of this processor
    fixtures.plugin.load_devices = lambda: {**load_devices(), "r300": rehearsed(load_devices()["r300"])}
    ForkedRanks.program = "tests.rehearsal:rank"
