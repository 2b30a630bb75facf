"""A rank's clock, the host's or a simulated one that planted work advances, and the ledger of its time by phase."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import Callable

from evidence.events import PHASES

_NAP_S = 1.0
_FIRST_NS = 1_000_000_000  # a simulated clock begins here on every rank
_NEVER_NS = 2**60  # 36 years; a longer wait is a planted hang


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
        """Return at `at_ns`, or at once if that has passed."""
        while True:
            left_s = (at_ns - self.now_ns()) / 1e9
            if left_s <= 0:
                return
            time.sleep(min(left_s, _NAP_S))

    def spend(self, work_ns: float) -> None:
        """Called for planted work of the host; takes no time here, where the real work does."""

    def join(self, latest_ns: int) -> None:
        """Called at the end of a collective with the latest of its ranks' times."""


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
        """Advance to `at_ns` and make the calls due on the way, each at its own time.

        Blocks for ever if that is more than 36 years away: a device that hangs.
        """
        while at_ns - self._now_ns > _NEVER_NS:
            time.sleep(_NAP_S)
        while self._calls and self._calls[0][0] <= at_ns:
            due_ns, _, call = heapq.heappop(self._calls)
            self._now_ns = max(self._now_ns, due_ns)
            call()
        self._now_ns = max(self._now_ns, at_ns)

    def spend(self, work_ns: float) -> None:
        """Advance by `work_ns`."""
        self.wait_until(self._now_ns + round(work_ns))

    def join(self, latest_ns: int) -> None:
        """Advance to the latest of the ranks' clocks."""
        self.wait_until(latest_ns)

    def call_at(self, at_ns: int, call: Callable[[], None]) -> None:
        """Schedule `call` at `at_ns`; it is made in the thread that advances the clock."""
        heapq.heappush(self._calls, (at_ns, next(self._number), call))


class Ledger:
    """Splits a rank's time into PHASES; `enter` closes the open phase and opens the next.

    Times are ns of `clock`, which must be monotonic. The phases sum to the wall time by construction; judging compares
    them with independent readings.

    >>> clock = SimulatedClock()
    >>> ledger = Ledger(clock.now_ns)
    >>> begun_ns = ledger.enter("compute")
    >>> clock.spend(7)
    >>> ledger.spent()["compute_ns"]
    7
    """

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._phase = "idle"
        self._since_ns = clock()
        self._spent_ns: dict[str, int] = dict.fromkeys(PHASES, 0)

    def begin(self) -> int:
        """Reset all phases, open `idle`, and return the time."""
        self._spent_ns = dict.fromkeys(PHASES, 0)
        self._phase = "idle"
        self._since_ns = self._clock()
        return self._since_ns

    def enter(self, phase: str) -> int:
        """Open `phase` and return the time at which it began. Raises KeyError for a phase that is not in PHASES."""
        now_ns = self._clock()
        self._spent_ns[self._phase] += now_ns - self._since_ns
        self._spent_ns[phase] += 0  # KeyError for an unknown name
        self._phase = phase
        self._since_ns = now_ns
        return now_ns

    @property
    def phase(self) -> str:
        """The phase that is open."""
        return self._phase

    def spent(self) -> dict[str, int]:
        """Close the open phase into the sum and return nanoseconds by phase, keyed `<phase>_ns`."""
        self.enter(self._phase)
        return {f"{phase}_ns": spent_ns for phase, spent_ns in self._spent_ns.items()}
