"""Where a rank's wall time went: a ledger in which exactly one phase is open at any moment."""

from __future__ import annotations

import time
from typing import Callable

from evidence.events import PHASES

Clock = Callable[[], int]


class Ledger:
    """Splits the time between `begin` and `end` into phases; `enter` closes the open phase and opens the next.

    Times are nanoseconds of `clock`, which must be monotonic. Because a phase ends where the next one begins, the
    phases sum to the wall time by construction; whoever judges the run checks it against independent readings.
    """

    def __init__(self, clock: Clock = time.perf_counter_ns) -> None:
        self._clock = clock
        self._phase = "idle"
        self._since_ns = clock()
        self._spent_ns: dict[str, int] = dict.fromkeys(PHASES, 0)

    def begin(self) -> int:
        """Forget what was spent so far, open `idle`, and return the time."""
        self._spent_ns = dict.fromkeys(PHASES, 0)
        self._phase = "idle"
        self._since_ns = self._clock()
        return self._since_ns

    def enter(self, phase: str) -> int:
        """Open `phase` and return the time at which it began. Raises KeyError for a phase that is not in PHASES."""
        now_ns = self._clock()
        self._spent_ns[self._phase] += now_ns - self._since_ns
        self._spent_ns[phase] += 0  # an unknown name fails here, not in a report after the run
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
