"""The clock that a rank's times are read from: the host's own, or a simulated one that only planted work advances."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import Callable

_NAP_S = 1.0
_FIRST_NS = 1_000_000_000  # a simulated clock begins here on every rank
_NEVER_NS = 2**60  # some thirty-six years; what takes longer is planted to hang


class Clock:
    """The host's monotonic clock.

    >>> clock = Clock()
    >>> clock.wait_until(clock.now_ns() + 1_000)
    """

    kind = "real"

    def now_ns(self) -> int:
        """Return the time in ns; its zero is arbitrary."""
        return time.perf_counter_ns()

    def wait_until(self, at_ns: int) -> None:
        """Return at `at_ns`, or at once where that has passed."""
        while True:
            left_s = (at_ns - self.now_ns()) / 1e9
            if left_s <= 0:
                return
            time.sleep(min(left_s, _NAP_S))

    def spend(self, work_ns: float) -> None:
        """Take note of planted work of the host; here its real work takes its own time."""

    def join(self, latest_ns: int) -> None:
        """Take note that a collective ended at `latest_ns` by the clocks of all its ranks."""


class SimulatedClock(Clock):
    """Stands still while the host computes; only `wait_until`, `spend` and `join` advance it. Single-threaded.

    >>> clock = SimulatedClock()
    >>> begun_ns = clock.now_ns()
    >>> clock.spend(5e6)
    >>> clock.now_ns() - begun_ns
    5000000
    """

    kind = "simulated"

    def __init__(self) -> None:
        self._now_ns = _FIRST_NS
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def now_ns(self) -> int:
        """Return the simulated time in ns."""
        return self._now_ns

    def wait_until(self, at_ns: int) -> None:
        """Advance to `at_ns` and make the calls that fall due on the way, each at its own time.

        Blocks in real time, for ever, where that is more than thirty-six years away: a device that hangs.
        """
        while at_ns - self._now_ns > _NEVER_NS:
            time.sleep(_NAP_S)
        while self._calls and self._calls[0][0] <= at_ns:
            due_ns, _, call = heapq.heappop(self._calls)
            self._now_ns = max(self._now_ns, due_ns)
            call()
        self._now_ns = max(self._now_ns, at_ns)

    def spend(self, work_ns: float) -> None:
        """Advance by so much."""
        self.wait_until(self._now_ns + round(work_ns))

    def join(self, latest_ns: int) -> None:
        """Advance to the latest of the ranks' clocks."""
        self.wait_until(latest_ns)

    def call_at(self, at_ns: int, call: Callable[[], None]) -> None:
        """Have `call` made when the clock gets to `at_ns`, by whoever advances it."""
        heapq.heappush(self._calls, (at_ns, next(self._number), call))
