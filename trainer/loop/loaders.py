"""The data of a run: both splits indexed and checked, a loader for each, and the counts that go into the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from evidence.events import DataSet, Split
from trainer.data.coco import CocoIndex
from trainer.data.dataset import CocoBoxes
from trainer.data.ground_truth import GroundTruth
from trainer.data.indexes import TRAIN, VAL, read_indexes
from trainer.data.loader import train_loader, val_loader
from trainer.data.sampler import EpochBatches
from trainer.data.slowed import Slowed
from trainer.published.loading import published_images
from trainer.ranks import HostGroup, Ranks
from trainer.settings import Settings


@dataclass(frozen=True)
class Loaders:
    """What one rank trains on and evaluates; `ground_truth` is the whole validation set's.

    `not_here` says of optimizations that were wanted and could not be had, by name, why.
    """

    train: Any
    val: Any
    train_plan: EpochBatches
    ground_truth: GroundTruth | None
    val_images_of_rank: int
    data_set: DataSet
    not_here: Mapping[str, str]


def build_loaders(
    settings: Settings,
    *,
    rank: int,
    world_size: int,
    pin_memory: bool,
    group: HostGroup | None = None,
    decode_delay_s: float = 0.0,
    floats: bool = False,
) -> Loaders:
    """Return the loaders of this rank; without a `group` it reads the data by itself. Raises DataError.

    With `floats` images leave the loader as floats, for a device that is not to make them of bytes. An image takes
    `decode_delay_s` seconds longer to decode than it does, where a simulated device is to wait for it.
    """
    data: Path = settings.data
    indexes = read_indexes(settings, group or HostGroup(Ranks()))
    shared: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "rank": rank,
        "world_size": world_size,
        "seed": settings.seed,
        "aspect_ratio_groups": settings.aspect_ratio_groups,
        "workers": settings.workers,
        "pin_memory": pin_memory and settings.uses("overlapped_copies"),
        "persistent_workers": settings.uses("persistent_workers"),
    }
    train: Any = train_loader(
        indexes.train,
        data / TRAIN,
        flip_probability=settings.horizontal_flip,
        images=_images(settings, indexes.train, TRAIN, decode_delay_s, floats),
        **shared,
    )
    val: Any = val_loader(
        indexes.val,
        data / VAL,
        images=_images(settings, indexes.val, VAL, decode_delay_s, floats),
        grouped=settings.uses("grouped_evaluation"),
        **shared,
    )
    plan: EpochBatches = train.batch_sampler
    mine = sum(len(batch) for batch in val.batch_sampler)
    data_set = DataSet(Split(**indexes.train.counts), Split(**indexes.val.counts), data.name, indexes.facts())
    not_here = indexes.not_here()
    return Loaders(train, val, plan, indexes.val.ground_truth, mine, data_set, not_here)


def _images(settings: Settings, index: CocoIndex, split: str, decode_delay_s: float, floats: bool) -> Any:
    images: Any = published_images(settings, index, split, floats=floats) or CocoBoxes(index, settings.data / split)
    return Slowed(images, decode_delay_s) if decode_delay_s else images
