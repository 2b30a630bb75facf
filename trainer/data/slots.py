"""Memory that loader workers write batches into, used again and again: new pages cost more than what fills them."""

from __future__ import annotations

import itertools
import mmap
import multiprocessing
import os
import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

_PER_WORKER = 5  # two that the loader has ordered from a worker, and what its process still holds
_MOST_BYTES = 2**28  # of a slot; a larger batch goes another way, and what an annotation file says may be anything
_FREE, _LENT = 0, 1

_numbers = itertools.count()
_opened: weakref.WeakValueDictionary[int, Slots] = weakref.WeakValueDictionary()


class Lent(NamedTuple):
    """A slot that a worker has filled; what the process that made the slots gets from its queue is a tensor of it."""

    slots: int
    slot: int
    array: np.ndarray

    def __reduce__(self) -> Any:
        return _received, (self.slots, self.slot, len(self.array))


class Slots:
    """Slots for the batches of each worker, all of `size` bytes, shared by a process and the workers that it forks.

    A slot is lent from the moment a worker takes it until the last tensor or view of it in the other process is gone.
    What nobody has written to takes no memory.
    """

    def __init__(self, workers: int, size: int) -> None:
        self._owner = os.getpid()
        self._size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(-1, workers * _PER_WORKER * self._size)
        self._state = mmap.mmap(-1, workers * _PER_WORKER)
        self._number = next(_numbers)
        _opened[self._number] = self

    def lend(self, size: int) -> Lent | None:
        """Return a free slot of this worker's, its first `size` bytes; None where none is free or none is so large.

        None in any process that is not a worker, too.
        """
        worker = get_worker_info()
        if worker is None or size > self._size or size == 0:
            return None
        for slot in range(worker.id * _PER_WORKER, (worker.id + 1) * _PER_WORKER):
            if self._state[slot] == _FREE:
                self._state[slot] = _LENT
                return Lent(self._number, slot, self._array(slot, size))
        return None

    def receive(self, slot: int, size: int) -> torch.Tensor:
        """Return the bytes that a worker has written to its slot, uint8 [size]; the slot is free when they are gone."""
        array = self._array(slot, size)
        # A tensor made of an array holds it for as long as any view of its memory is in use.
        weakref.finalize(array, self._give_back, slot).atexit = False
        return torch.from_numpy(array)

    def _give_back(self, slot: int) -> None:
        # A process that was forked meanwhile has what its parent held; that it lets go of it says nothing.
        if os.getpid() == self._owner:
            self._state[slot] = _FREE

    def _array(self, slot: int, size: int) -> np.ndarray:
        return np.frombuffer(self._memory, dtype=np.uint8, count=size, offset=slot * self._size)


def _received(slots: int, slot: int, size: int) -> torch.Tensor:
    return _opened[slots].receive(slot, size)


def slots_for(workers: int, size: int) -> Slots | None:
    """Return slots for batches of up to `size` bytes; None where nothing can be shared, or there is no room for it."""
    if not workers or not can_share():
        return None
    try:
        return Slots(workers, min(size, _MOST_BYTES))
    except (OSError, OverflowError, ValueError):
        return None


def can_share() -> bool:
    """Whether workers are forked, and so have the memory that was there before them."""
    return multiprocessing.get_start_method() == "fork"
