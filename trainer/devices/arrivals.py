"""When a loader's batches arrive in simulated time: each after its planted decoding, by one of the loader's workers."""

from __future__ import annotations

from collections import deque
from typing import Any, Iterable

from trainer.clocks import SimulatedClock

_AHEAD = 2  # batches that torch's DataLoader asks of each worker before they are wanted


class Arrivals:
    """Iterates over `batches`, advancing `clock` to the arrival of each.

    A worker decodes a batch in `decode_ns`, one after the other; as one is taken, the next is asked for. Without
    workers a batch is decoded when it is wanted.
    """

    def __init__(self, batches: Iterable[Any], clock: SimulatedClock, decode_ns: int, workers: int) -> None:
        self._batches = batches
        self._iterator = iter(batches)
        self._clock = clock
        self._decode_ns = decode_ns
        self._free_ns = [clock.now_ns()] * workers
        self._arrivals_ns: deque[int] = deque()
        for _ in range(_AHEAD * workers):
            self._ask()

    @property
    def ready(self) -> bool:
        """Whether `next` returns without a wait in simulated time; always false for a loader that cannot say."""
        return hasattr(self._batches, "ready") and self._arrivals_ns[0] <= self._clock.now_ns()

    def __iter__(self) -> Arrivals:
        return self

    def __next__(self) -> Any:
        batch = next(self._iterator)
        if self._free_ns:
            self._clock.wait_until(self._arrivals_ns.popleft())
            self._ask()
        else:
            self._clock.spend(self._decode_ns)
        return batch

    def close(self) -> None:
        """Close the batches, where they can be."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def _ask(self) -> None:
        worker = self._free_ns.index(min(self._free_ns))
        self._free_ns[worker] = max(self._free_ns[worker], self._clock.now_ns()) + self._decode_ns
        self._arrivals_ns.append(self._free_ns[worker])
