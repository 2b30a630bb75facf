"""Builds the DataLoaders: workers that are started once, know nothing of epochs, and leave the other cores alone."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader

from trainer.data.coco import CocoIndex
from trainer.data.dataset import CocoBoxes, collate
from trainer.data.sampler import EpochBatches, Item, aspect_groups, shard_validation

_TRAIN, _VAL = 1, 2


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
) -> DataLoader:
    """Returns the loader of a rank's training batches; each is a `Batch`, or a `BadSample` that ends the training.

    Its `batch_sampler` is an `EpochBatches`: call `set_epoch` on it before every pass; loading starts with the pass.
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
    return _loader(CocoBoxes(index, folder), batches, [seed, rank, _TRAIN], workers, pin_memory)


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
) -> DataLoader:
    """Returns the loader of a rank's share of the validation images; empty where there are more ranks than batches."""
    groups = aspect_groups(index.widths, index.heights, aspect_ratio_groups)
    batches = shard_validation(groups, batch_size=batch_size, rank=rank, world_size=world_size)
    return _loader(CocoBoxes(index, folder), batches, [seed, rank, _VAL], workers, pin_memory)


def _loader(
    dataset: CocoBoxes,
    batches: EpochBatches | Sequence[list[Item]],
    seeds: list[int],
    workers: int,
    pin_memory: bool,
) -> DataLoader:
    # A generator of its own: otherwise every pass would draw from the one that the model samples its proposals with.
    generator = torch.Generator()
    generator.manual_seed(_mix(seeds))
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=partial(_start_worker, seeds),
        persistent_workers=workers > 0,
        generator=generator,
    )


def _start_worker(seeds: list[int], worker: int) -> None:
    """One thread a worker, and a seed that no other worker of any rank has."""
    torch.set_num_threads(1)
    seed = _mix([*seeds, worker + 1])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _mix(words: list[int]) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0])
