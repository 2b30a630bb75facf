"""Sampling: which rank sees which image in which step, planned alike on all ranks from seed and epoch."""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

import numpy as np
from torch.utils.data.distributed import DistributedSampler

from trainer.errors import DataError

# Last word of the seed sequences of two streams; not 0, because trailing zeros do not change a sequence.
_ORDER, _FLIP = 1, 2


class Item(NamedTuple):
    """An image to load: its position in the index, and whether to mirror it."""

    position: int
    flip: bool


def aspect_groups(widths: np.ndarray, heights: np.ndarray, k: int) -> np.ndarray:
    """Group of each image by its width over height, int64 [N]: as torchvision's reference training groups them.

    The bounds are 2k + 1 ratios from 1/2 to 2, evenly spaced by their logarithm; with k = 0 the only bound is 1. A
    ratio equal to a bound belongs to the group above it.
    """
    bounds = 2 ** np.linspace(-1, 1, 2 * k + 1) if k > 0 else np.array([1.0])
    ratios = np.asarray(widths, dtype=np.float64) / np.asarray(heights, dtype=np.float64)
    return np.searchsorted(bounds, ratios, side="right").astype(np.int64)


def plan_epoch(groups: np.ndarray, *, batch_size: int, world_size: int, epoch: int, seed: int) -> np.ndarray:
    """Returns the batches of all ranks for an epoch, int64 [steps, world_size, batch_size] of positions in the index.

    Every rank makes the same plan and takes its own column. Images are permuted and cut into batches within their
    groups; the groups' leftovers are cut into batches in order of group. All batches are full and disjoint; the images
    left over, too few for another batch of every rank, are drawn anew in every epoch.
    """
    rng = _order_of(epoch, seed)
    steps = len(groups) // (batch_size * world_size)
    # Unused images are drawn before grouping: else they would be those of rare groups in every epoch.
    order = rng.permutation(len(groups))[: steps * world_size * batch_size]
    full: list[np.ndarray] = []
    leftovers: list[np.ndarray] = []
    for group in np.unique(groups):
        members = order[groups[order] == group]
        cut = len(members) - len(members) % batch_size
        full.append(members[:cut])
        leftovers.append(members[cut:])
    batches = np.concatenate(full + leftovers).astype(np.int64).reshape(-1, batch_size)
    return batches[rng.permutation(len(batches))].reshape(steps, world_size, batch_size)


def _order_of(epoch: int, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, _ORDER])))


def plan_flips(images: int, *, epoch: int, seed: int, probability: float) -> np.ndarray:
    """Whether each image is mirrored in an epoch, bool [images] by position, whatever its rank."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, _FLIP])))
    return rng.random(images) < probability


class EpochBatches:
    """One rank's training batches; a `batch_sampler` for a DataLoader. Call `set_epoch` before every pass over it.

    Raises DataError if there are fewer images than one batch for every rank.
    """

    def __init__(
        self, groups: np.ndarray, *, batch_size: int, rank: int, world_size: int, seed: int, flip_probability: float
    ) -> None:
        if len(groups) < batch_size * world_size:
            raise DataError(
                f"{len(groups)} images to train on are fewer than one batch per rank: {world_size} rank(s) x "
                f"batch size {batch_size} = {batch_size * world_size}; use more images, a smaller batch or fewer ranks"
            )
        self._groups = groups
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._flip_probability = flip_probability
        self._epoch = self._first = 0
        self._endless = False

    def set_epoch(self, epoch: int, first: int = 0, *, endless: bool = False) -> None:
        """Chooses the epoch of the next pass, from its step `first` on; earlier steps are not loaded.

        An endless pass continues with the next epochs, so that workers prefetch across their ends.
        """
        self._epoch, self._first, self._endless = epoch, first, endless

    @property
    def unused(self) -> int:
        """Images of the data set that no rank sees in an epoch."""
        return len(self._groups) - len(self) * self._batch_size * self._world_size

    def left_out(self, epoch: int) -> np.ndarray:
        """Positions of the images that no rank sees in an epoch, int64 [unused]."""
        count = len(self._groups)
        return _order_of(epoch, self._seed).permutation(count)[count - self.unused :].astype(np.int64)

    def __len__(self) -> int:
        """Steps of an epoch: the same for every rank and every epoch."""
        return len(self._groups) // (self._batch_size * self._world_size)

    def __iter__(self) -> Iterator[list[Item]]:
        epoch, first, endless = self._epoch, self._first, self._endless
        yield from self._batches(epoch, first)
        while endless:
            epoch += 1
            yield from self._batches(epoch, 0)

    def _batches(self, epoch: int, first: int) -> Iterator[list[Item]]:
        plan = plan_epoch(
            self._groups, batch_size=self._batch_size, world_size=self._world_size, epoch=epoch, seed=self._seed
        )
        flips = plan_flips(len(self._groups), epoch=epoch, seed=self._seed, probability=self._flip_probability)
        for batch in plan[first:, self._rank]:
            yield [Item(int(index), bool(flips[index])) for index in batch]


def shard_validation(groups: np.ndarray, *, batch_size: int, rank: int, world_size: int) -> list[list[Item]]:
    """Returns the rank's batches of the validation images, by group: each image once over all ranks, unpadded.

    No batch mixes groups; the last of each group may be short. Ranks differ by at most one batch's images; with few
    images some ranks have none.
    """
    batches: list[tuple[int, np.ndarray]] = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        batches += [(int(group), members[start : start + batch_size]) for start in range(0, len(members), batch_size)]
    # Full batches first, each to the rank with the fewest images; the short ones then even out the difference.
    batches.sort(key=lambda batch: -len(batch[1]))
    loads = [0] * world_size
    mine: list[tuple[int, np.ndarray]] = []
    for group, members in batches:
        target = loads.index(min(loads))
        loads[target] += len(members)
        if target == rank:
            mine.append((group, members))
    mine.sort(key=lambda batch: batch[0])
    return [[Item(int(index), False) for index in members] for _, members in mine]


def shard_in_order(images: int, *, batch_size: int, rank: int, world_size: int) -> list[list[Item]]:
    """Return the rank's batches of `images` images as in the published runs (DistributedSampler): every n-th, in order.

    The last batch may be short. All ranks have equally many images; the shares are padded with the first images.
    """
    every: Any = range(images)
    sampler: DistributedSampler = DistributedSampler(every, num_replicas=world_size, rank=rank, shuffle=False)
    mine = [Item(int(position), False) for position in sampler]
    return [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
