"""The time limit of an exchange: one that does not end names the ranks that began it and those that did not."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Any, Callable, Iterator

from evidence.events.state import Failure
from evidence.rank_file import EventLog

KIND = "links"
"""The kind of the failure in the evidence."""
PATIENCE_S = 60.0
_SLOWEST_BYTES_PER_S = 1e7
_OTHERS_READ_S = 2.0  # rank 0 may be the one who keeps the store


class Arrivals:
    """Counts in a store of torch.distributed how many exchanges each rank has begun, and limits the time of each.

    with arrivals.limit("all-reduce of 1 MiB", 1 << 20):
        arrivals.arrive()
        dist.all_reduce(tensor)
    """

    def __init__(
        self, store: Any, rank: int, ranks: int, give_up: Callable[[str], None], patience_s: float = PATIENCE_S
    ) -> None:
        self._store, self._rank, self._ranks = store, rank, ranks
        self._give_up, self._patience_s = give_up, patience_s

    def arrive(self) -> None:
        """Note that this rank begins the next exchange."""
        self._store.add(_key(self._rank), 1)

    @contextlib.contextmanager
    def limit(self, what: str, size: int) -> Iterator[None]:
        """Call `give_up` in another thread, with the ranks that arrived, if the body has not ended in time."""
        limit_s, is_over = self._patience_s + size / _SLOWEST_BYTES_PER_S, threading.Event()

        def end() -> None:
            is_over.set()
            self._give_up(self.sentence(what, limit_s))

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            if is_over.is_set():
                timer.join()  # the exchange failed as the other ranks were ended, and this one is about to be

    def sentence(self, what: str, limit_s: float) -> str:
        """Return who arrived, in words: those that have begun as many exchanges as the rank that has begun most."""
        begun = [int(self._store.add(_key(rank), 0)) for rank in range(self._ranks)]
        there = [rank for rank, count in enumerate(begun) if count == max(begun)]
        absent = [rank for rank in range(self._ranks) if rank not in there]
        who = f"{_ranks(there)} arrived, {_ranks(absent)} did not" if absent else "all ranks arrived"
        return f"{what} did not end within {limit_s:.0f} s: {who}"


def end_rank(log: EventLog, rank: int) -> Callable[[str], None]:
    """Return what ends a rank that is stuck in a collective: the reason goes into its evidence and its output."""

    def give_up(reason: str) -> None:
        print(f"trainer: {KIND}: {reason}", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            log.write(Failure(KIND, reason))
        if rank == 0:
            time.sleep(_OTHERS_READ_S)
        os._exit(1)

    return give_up


def _key(rank: int) -> str:
    return f"conformance/links/{rank}"


def _ranks(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
