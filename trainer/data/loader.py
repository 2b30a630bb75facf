"""The loaders of a rank: indexes read, data sets chosen, DataLoaders built; workers are started once for all epochs."""

from __future__ import annotations

import ctypes
import random
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Callable, Mapping, Sequence, Union

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from evidence.events.setup import DataSet, Split
from trainer.data.coco import CocoIndex, GroundTruth, require_agreement, require_sides
from trainer.data.dataset import BadSample, Batch, CocoBoxes, Sample, slots_for
from trainer.data.indexes import read_indexes
from trainer.data.passes import id_sum
from trainer.data.published import PublishedBatch, PublishedImages, PublishedSample, published_images
from trainer.data.sampler import EpochBatches, Item, aspect_groups, shard_in_order, shard_validation
from trainer.ranks import HostGroup, Ranks
from trainer.settings import Settings

SMOKE_IMAGES = 32
"""Images that a smoke run evaluates, the first ones of the split."""

_TRAIN, _VAL = 1, 2

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 2**28
_FROM_THE_HEAP_BYTES = 2**25  # the most that glibc takes


@dataclass(frozen=True)
class Loaders:
    """The loaders of one rank; `ground_truth` is of the whole validation set, `image_ids` of the one to train on.

    `unavailable` has the reasons why optimizations were wanted and could not be had, by name.
    """

    train: DataLoader
    val: DataLoader
    train_plan: EpochBatches
    image_ids: np.ndarray
    """int64, by position in the index"""
    ground_truth: GroundTruth | None
    val_images_of_rank: int
    data_set: DataSet
    unavailable: Mapping[str, str]


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

    With `floats` the loader makes floats of the images, for a device that cannot. `decode_delay_s` is added to the
    decoding of each image, for a simulated device.
    """
    indexes = read_indexes(settings, group or HostGroup(Ranks()))
    if settings.protocol == "smoke":
        indexes = replace(indexes, val=indexes.val.first(SMOKE_IMAGES))
    require_sound(settings, indexes.train, indexes.val)
    images = [
        images_of(settings, index, floats=floats, decode_delay_s=decode_delay_s)
        for index in (indexes.train, indexes.val)
    ]
    train = train_loader(settings, indexes.train, images[0], rank, world_size, pin_memory)
    val = val_loader(settings, indexes.val, images[1], rank, world_size, pin_memory)
    ids = indexes.train.image_ids
    splits = (
        Split(**indexes.train.counts, annotations_sha256=indexes.annotations_sha256[0], id_sum=id_sum(ids)),
        Split(**indexes.val.counts, annotations_sha256=indexes.annotations_sha256[1]),
    )
    data_set = DataSet(*splits, settings.data.name, indexes.facts())
    mine = sum(len(batch) for batch in val.batch_sampler)
    truth = indexes.val.ground_truth
    return Loaders(train, val, train.batch_sampler, ids, truth, mine, data_set, indexes.unavailable())


def require_sound(settings: Settings, train: CocoIndex, val: CocoIndex) -> None:
    """Raises DataError for what only both splits, or a split and the model, tell to be wrong."""
    require_agreement(settings.data, train, val)
    for index in (train, val):
        require_sides(settings.data, index, *settings.resized)


class Slowed(Dataset):
    """The samples of `images`, each `delay_s` seconds later: planted by a simulated device's scenario."""

    def __init__(self, images: CocoBoxes | PublishedImages, delay_s: float) -> None:
        self._images = images
        self._delay_s = delay_s
        self.collate = images.collate

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, item: Item) -> Sample | PublishedSample | BadSample:
        """The sample of `images`."""
        time.sleep(self._delay_s)
        return self._images[item]


Images = Union[CocoBoxes, PublishedImages, Slowed]
Loaded = Union[Batch, PublishedBatch, BadSample]
"""What a loader yields."""


def images_of(settings: Settings, index: CocoIndex, *, floats: bool = False, decode_delay_s: float = 0.0) -> Images:
    """Return the data set of an index's split, as the settings want it loaded. Raises DataError."""
    images = published_images(settings, index, floats=floats) or CocoBoxes(index, settings.data / index.split)
    return Slowed(images, decode_delay_s) if decode_delay_s else images


def train_loader(
    settings: Settings, index: CocoIndex, images: Images, rank: int = 0, world_size: int = 1, pin_memory: bool = False
) -> DataLoader:
    """Returns the loader of a rank's training batches; each is a `Batch`, or a `BadSample` that ends the training.

    Its `batch_sampler` is an `EpochBatches`: call `set_epoch` on it before every pass; loading starts with the pass.
    Raises DataError if there are fewer images than one batch for every rank.
    """
    batches = EpochBatches(
        aspect_groups(index.widths, index.heights, settings.aspect_ratio_groups),
        batch_size=settings.batch_size,
        rank=rank,
        world_size=world_size,
        seed=settings.seed,
        flip_probability=settings.horizontal_flip,
    )
    return _loader(settings, images, batches, [settings.seed, rank, _TRAIN], pin_memory)


def val_loader(
    settings: Settings, index: CocoIndex, images: Images, rank: int = 0, world_size: int = 1, pin_memory: bool = False
) -> DataLoader:
    """Returns the loader of a rank's share of the validation images; empty if there are more ranks than batches.

    Without the optimization `grouped_evaluation` they are in the order of their ids, some of them on two ranks.
    """
    share: dict[str, int] = {"batch_size": settings.batch_size, "rank": rank, "world_size": world_size}
    if settings.uses("grouped_evaluation"):
        groups = aspect_groups(index.widths, index.heights, settings.aspect_ratio_groups)
        batches = shard_validation(groups, **share)
    else:
        batches = shard_in_order(len(index), **share)
    return _loader(settings, images, batches, [settings.seed, rank, _VAL], pin_memory)


def _loader(
    settings: Settings, images: Images, batches: EpochBatches | Sequence[list[Item]], seeds: list[int], pin_memory: bool
) -> DataLoader:
    # A generator of its own: else every pass would draw from the one that the model samples proposals with.
    generator = torch.Generator()
    generator.manual_seed(_mix(seeds))
    collate_fn: Callable[..., Loaded] = images.collate
    workers, persistent = settings.workers, settings.uses("persistent_workers")
    # Workers that end with a pass may leave slots lent for batches that were not fetched; those would stay lent.
    if isinstance(images, CocoBoxes) and persistent:
        collate_fn = partial(images.collate, slots=slots_for(workers, images.largest_bytes * settings.batch_size))
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate_fn,
        pin_memory=pin_memory and settings.uses("overlapped_copies"),
        worker_init_fn=partial(_start_worker, seeds, isinstance(images, CocoBoxes)),
        persistent_workers=persistent and workers > 0,
        generator=generator,
    )


def _start_worker(seeds: list[int], keeps_memory: bool, worker: int) -> None:
    """One thread a worker, and a seed that no other worker of any rank has."""
    torch.set_num_threads(1)
    if keeps_memory:
        keep_freed_memory()
    seed = _mix([*seeds, worker + 1])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for reuse; return whether it does.

    By default it returns the memory of every image and batch to the system, and faulting the pages in again takes a
    good part of the time of decoding. It keeps at most what was in use at once, and _KEPT_BYTES.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES) and mallopt(_M_MMAP_THRESHOLD, _FROM_THE_HEAP_BYTES))


def _mix(words: list[int]) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])
