"""Which images a rank trained on, pass by pass over the data set: in so few numbers that ranks can be compared."""

from __future__ import annotations

from typing import Iterator, Sequence

import numpy as np

from evidence.events.training import Pass
from trainer.data.sampler import EpochBatches

HASH_BITS = 61
"""Of the hash of an image's id, so that a sum of them fits into int64."""
_SMALLEST = 16


class Passes:
    """Collects the ids of the images of each step, and sums up every pass over the data set in an event.

    It begins with step `first` of `epoch`; `image_ids` are those of the whole split, int64 by position.

    >>> passes = Passes(plan, index.image_ids)  # doctest: +SKIP
    >>> passes.add(batch.image_ids)  # doctest: +SKIP
    >>> next(passes.rest()).repeated  # doctest: +SKIP
    0
    """

    def __init__(self, plan: EpochBatches, image_ids: np.ndarray, epoch: int = 0, first: int = 0) -> None:
        self._plan = plan
        self._image_ids = image_ids
        self._done = epoch * len(plan) + first  # steps of all epochs before those that are kept
        self._steps: list[np.ndarray] = []
        self._oriented: list[int | None] = []

    def add(self, image_ids: np.ndarray, oriented: int | None = None) -> None:
        """Take the ids of the images of a step, int64 [images], and how many of them are `oriented` (see Batch)."""
        self._steps.append(image_ids)
        self._oriented.append(oriented)

    def completed(self) -> Iterator[Pass]:
        """Yield the passes of which the last step was added."""
        while len(self._steps) >= self._left:
            yield self._take(self._left)

    def rest(self) -> Iterator[Pass]:
        """Yield the pass that was begun, if one was."""
        if self._steps:
            yield self._take(len(self._steps))

    @property
    def _left(self) -> int:
        return len(self._plan) - self._done % len(self._plan)

    def _take(self, steps: int) -> Pass:
        epoch, first = divmod(self._done, len(self._plan))
        ids = np.concatenate(self._steps[:steps])
        unused = self._image_ids[self._plan.left_out(epoch)]
        oriented = total(self._oriented[:steps])
        del self._steps[:steps], self._oriented[:steps]
        self._done += steps
        return Pass(
            epoch=epoch,
            from_step=first,
            steps=steps,
            images=len(ids),
            repeated=len(ids) - len(np.unique(ids)),
            id_sum=id_sum(ids),
            smallest=tuple(np.unique(hashes(ids))[:_SMALLEST].tolist()),
            unused=len(unused),
            unused_sum=id_sum(unused),
            exif_oriented=oriented,
        )


def total(counts: Sequence[int | None]) -> int | None:
    """Return the sum of the counts; None if one of them is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def hashes(image_ids: np.ndarray) -> np.ndarray:
    """Return a hash of HASH_BITS bits of each id, uint64: the output function of splitmix64 (Steele et al., 2014)."""
    mixed = image_ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(64 - HASH_BITS)


def id_sum(image_ids: np.ndarray) -> int:
    """Return the sum of the ids' hashes modulo 2**HASH_BITS.

    Unlike sums of ids, those of two collections are equal only if they have the same ids equally often, but for a
    chance of 1 in 2**HASH_BITS.
    """
    return int(hashes(image_ids).sum(dtype=np.uint64)) % 2**HASH_BITS
