"""A training step from a loader's batch to its loss: ours, beside the published way, which carries masks along."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

torch = pytest.importorskip("torch")


from benchmarks.beside import beside
from benchmarks.data.pictures import write_pictures
from trainer.data.loader import build_loaders
from trainer.devices import Backend, load_backend
from trainer.loop.staging import to_device
from trainer.loop.trainee import Trainee, build_optimizer
from trainer.model.networks import build_model
from trainer.optimizations import NAMES
from trainer.settings import Settings

CLASSES = 91
_ON_A_DEVICE = {"model": "fasterrcnn_resnet50_fpn", "batch_size": 16}
_ON_A_CPU = {"model": "fasterrcnn_resnet18_fpn_small", "batch_size": 8}


def step_of(folder: Path, data: Path, backend: Backend, without: tuple[str, ...]) -> Callable[[], float]:
    """Return a function that takes the same batch through a step, and returns its loss when the device is done."""
    settings = Settings(
        run_dir=folder,
        data=data,
        num_classes=CLASSES,
        pretrained_backbone=False,
        learning_rate=1e-6,  # so that the step after many others is still one of an untrained model
        workers=0,
        without=without,
        **(_ON_A_DEVICE if backend.name == "cuda" else _ON_A_CPU),
    )
    loaders = build_loaders(settings, rank=0, world_size=1, pin_memory=False)
    batch = next(iter(loaders.train))
    torch.manual_seed(0)
    model = build_model(settings).to(backend.device)
    trainee = Trainee(settings, backend, model, build_optimizer(model, settings))

    def step() -> float:
        images, targets = to_device(batch, backend.device, everything=True)
        loss = trainee.step(images, targets)
        for part in trainee.parts:
            backend.numbers([part])
        backend.synchronise()
        return backend.numbers([loss])[0]

    return step


def test_a_step_beside_the_published_way(benchmark: Any, tmp_path: Path) -> None:
    """Copy, conversion, forward, backward and optimizer, on a CUDA device the real model, else the CPU's own.

    The pictures are 640x480 with seven outlines each. The reference has floats and masks in its batch, copies and
    resizes them, and reads each loss by itself.
    """
    backend = load_backend("cuda" if torch.cuda.is_available() else "cpu")
    backend.open(0, 1)
    data = write_pictures(tmp_path / "coco", images=32)
    write_pictures(data, images=8, split="val2017")
    ours, reference = (step_of(tmp_path, data, backend, without) for without in ((), NAMES))
    torch.manual_seed(1)
    first = ours()
    torch.manual_seed(1)  # the boxes that are sampled
    assert reference() == first

    images = (_ON_A_DEVICE if backend.name == "cuda" else _ON_A_CPU)["batch_size"]
    beside(benchmark, ours, reference, rounds=9, units=float(images), name=f"step, {backend.name}")
