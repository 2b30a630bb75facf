"""`python -m benchmarks.data.padding`: what it does to detections that a batch is padded to its largest image.

Trains the small model on generated images until it finds things, with a resizing that keeps the images' shapes, and
evaluates it three times: every image alone, images of one group together, and images in the order of their ids.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.data.loader import build_loaders
from trainer.data.shapes import NUM_CLASSES, ensure
from trainer.devices import Backend, load_backend
from trainer.loop.evaluate import Outcome, collector, detect
from trainer.loop.staging import to_device
from trainer.loop.trainee import Trainee, build_optimizer
from trainer.model.networks import build_model
from trainer.ranks import HostGroup, Ranks
from trainer.settings import Settings

_SIDES = (96, 160)  # shorter side, and what the longer one is kept below: 128x96 stays 128x96
_BATCH_SIZE = 8


def main() -> None:
    """Print a line for each way of evaluating."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150, help="of training; 150 without it")
    parser.add_argument("--images", type=int, default=256, help="to evaluate; 256 without it")
    arguments = parser.parse_args()
    backend = load_backend("cpu")
    backend.open(0, 1)
    with tempfile.TemporaryDirectory(prefix="padding-") as folder:
        data = ensure(Path(folder), seed=0, train_images=256, val_images=arguments.images)
        settings = _settings(data)
        torch.manual_seed(0)
        model: Any = build_model(settings)
        model.transform.min_size, model.transform.max_size = (_SIDES[0],), _SIDES[1]
        _train(model, settings, backend, arguments.steps)
        for name, changes in (
            ("every image alone", {"batch_size": 1}),
            ("images of one group", {}),
            ("in the order of ids", {"without": ("grouped_evaluation",)}),
        ):
            outcome, padded = _evaluate(model, replace(settings, **changes), backend)
            print(f"{name:<22} map {outcome.map:.6f}   {padded:4d} of {arguments.images} images padded for another")


def _settings(data: Path) -> Settings:
    return Settings(
        run_dir=data,
        data=data,
        model="fasterrcnn_resnet18_fpn_small",
        num_classes=NUM_CLASSES,
        pretrained_backbone=False,
        batch_size=_BATCH_SIZE,
        learning_rate=0.02,
        gradient_clip=10.0,
        workers=0,
    )


def _train(model: Any, settings: Settings, backend: Backend, steps: int) -> None:
    loaders = build_loaders(settings, rank=0, world_size=1, pin_memory=False)
    trainee = Trainee(settings, backend, model, build_optimizer(model, settings))
    done = 0
    while done < steps:
        loaders.train_plan.set_epoch(done // len(loaders.train_plan))
        for batch in loaders.train:
            for group in trainee.optimizer.param_groups:
                group["lr"] = settings.learning_rate * min(1.0, (done + 1) / 50)
            trainee.step(*to_device(batch, backend.device))
            done += 1
            if done == steps:
                break


def _evaluate(model: Any, settings: Settings, backend: Backend) -> tuple[Outcome, int]:
    """The outcome, and how many images were padded to more than they are when they are alone."""
    loaders = build_loaders(settings, rank=0, world_size=1, pin_memory=False)
    scores = collector(settings, loaders.ground_truth)
    detect(model, loaders.val, backend, scores.add)
    padded = 0
    for batch in loaders.val:
        sides = np.array([_alone(model, image.float()) for image in batch.images])
        padded += int((sides < sides.max(axis=0)).any(axis=1).sum())
    return scores.outcome(HostGroup(Ranks()), lambda reached: False), padded


def _alone(model: Any, image: torch.Tensor) -> list[int]:
    images, _ = model.transform.eval()([image / 255])
    return list(images.tensors.shape[-2:])


if __name__ == "__main__":
    main()
