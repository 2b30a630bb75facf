"""Shares the validation images out as the published runs did: by the order of their ids, whatever their shape."""

from __future__ import annotations

from typing import Any

from torch.utils.data.distributed import DistributedSampler

from trainer.data.sampler import Item


def shard_in_order(images: int, *, batch_size: int, rank: int, world_size: int) -> list[list[Item]]:
    """Returns the rank's batches of `images` images: every `world_size`-th of them from the rank's own number on.

    The last batch may be short. All ranks have equally many, for which the first images are shared out again.
    """
    every: Any = range(images)
    sampler: DistributedSampler = DistributedSampler(every, num_replicas=world_size, rank=rank, shuffle=False)
    mine = [Item(int(position), False) for position in sampler]
    return [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
