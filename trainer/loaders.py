"""The data of a run: both splits indexed and checked, a loader for each, and the counts that go into the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from trainer.data.coco import load_index
from trainer.data.loader import train_loader, val_loader
from trainer.data.sampler import EpochBatches
from trainer.settings import Settings

_TRAIN, _VAL = "train2017", "val2017"


@dataclass(frozen=True)
class Loaders:
    """What one rank trains on and evaluates; `ground_truth` is pycocotools' COCO object of the whole validation set."""

    train: Any
    val: Any
    train_plan: EpochBatches
    ground_truth: Any
    val_images_of_rank: int
    counts: Mapping[str, Any]


def build_loaders(settings: Settings, *, rank: int, world_size: int, pin_memory: bool) -> Loaders:
    """Read both annotation files and return the loaders of this rank. Raises DataError."""
    data: Path = settings.data
    train_index = load_index(data, _TRAIN, num_classes=settings.num_classes, training=True)
    val_index = load_index(data, _VAL, num_classes=settings.num_classes, training=False)
    shared: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "rank": rank,
        "world_size": world_size,
        "seed": settings.seed,
        "aspect_ratio_groups": settings.aspect_ratio_groups,
        "workers": settings.workers,
        "pin_memory": pin_memory,
    }
    train: Any = train_loader(train_index, data / _TRAIN, flip_probability=settings.horizontal_flip, **shared)
    val: Any = val_loader(val_index, data / _VAL, **shared)
    plan: EpochBatches = train.batch_sampler
    mine = sum(len(batch) for batch in val.batch_sampler)
    counts = {"folder": data.name, "train": train_index.counts, "val": val_index.counts}
    return Loaders(train, val, plan, val_index.ground_truth, mine, counts)
