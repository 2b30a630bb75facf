"""Builds the DataLoaders: workers that are started once, know nothing of epochs, and leave the other cores alone."""

from __future__ import annotations

import ctypes
import random
from functools import partial
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader

from trainer.data.coco import CocoIndex
from trainer.data.dataset import CocoBoxes
from trainer.data.sampler import EpochBatches, Item, aspect_groups, shard_in_order, shard_validation
from trainer.data.slots import slots_for

_TRAIN, _VAL = 1, 2

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 2**28
_FROM_THE_HEAP_BYTES = 2**25  # the most that glibc takes


def train_loader(
    index: CocoIndex,
    folder: Path,
    *,
    batch_size: int,
    rank: int,
    world_size: int,
    seed: int,
    flip_probability: float,
    aspect_ratio_groups: int,
    workers: int,
    pin_memory: bool,
    persistent_workers: bool = True,
    images: Any = None,
) -> DataLoader:
    """Returns the loader of a rank's training batches; each is a `Batch`, or a `BadSample` that ends the training.

    Its `batch_sampler` is an `EpochBatches`: call `set_epoch` on it before every pass; loading starts with the pass.
    `images` is the data set to load from, where it is not the index's boxes; workers that are not persistent are
    started for every pass.
    Raises DataError where the images do not make one batch for every rank.
    """
    batches = EpochBatches(
        aspect_groups(index.widths, index.heights, aspect_ratio_groups),
        batch_size=batch_size,
        rank=rank,
        world_size=world_size,
        seed=seed,
        flip_probability=flip_probability,
    )
    images = CocoBoxes(index, folder) if images is None else images
    return _loader(images, batches, batch_size, [seed, rank, _TRAIN], workers, pin_memory, persistent_workers)


def val_loader(
    index: CocoIndex,
    folder: Path,
    *,
    batch_size: int,
    rank: int,
    world_size: int,
    seed: int,
    aspect_ratio_groups: int,
    workers: int,
    pin_memory: bool,
    persistent_workers: bool = True,
    images: Any = None,
    grouped: bool = True,
) -> DataLoader:
    """Returns the loader of a rank's share of the validation images; empty where there are more ranks than batches.

    Unless they are `grouped` by their shape, they come in the order of their ids, some of them to two ranks.
    """
    share: dict[str, Any] = {"batch_size": batch_size, "rank": rank, "world_size": world_size}
    if grouped:
        batches = shard_validation(aspect_groups(index.widths, index.heights, aspect_ratio_groups), **share)
    else:
        batches = shard_in_order(len(index), **share)
    images = CocoBoxes(index, folder) if images is None else images
    return _loader(images, batches, batch_size, [seed, rank, _VAL], workers, pin_memory, persistent_workers)


def _loader(
    images: Any,
    batches: EpochBatches | Sequence[list[Item]],
    batch_size: int,
    seeds: list[int],
    workers: int,
    pin_memory: bool,
    persistent_workers: bool,
) -> DataLoader:
    # A generator of its own: otherwise every pass would draw from the one that the model samples its proposals with.
    generator = torch.Generator()
    generator.manual_seed(_mix(seeds))
    collate_fn, as_bytes = images.collate, isinstance(images, CocoBoxes)
    # Workers of one pass may end with slots lent for batches that nobody took; those would never come back.
    if as_bytes and persistent_workers:
        collate_fn = partial(images.collate, slots=slots_for(workers, images.largest_bytes * batch_size))
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate_fn,
        pin_memory=pin_memory,
        worker_init_fn=partial(_start_worker, seeds, as_bytes),
        persistent_workers=persistent_workers and workers > 0,
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
    """Have this process's C library use again what was freed; return whether it does.

    Else glibc gives the megabytes of every image and every batch back to the system, and to be given each page anew
    takes a good part of the time that decoding does. What is kept is at most what was in use at once, and _KEPT_BYTES.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, which has its own ways
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES) and mallopt(_M_MMAP_THRESHOLD, _FROM_THE_HEAP_BYTES))


def _mix(words: list[int]) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])
