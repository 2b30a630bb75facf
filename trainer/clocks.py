"""A rank's clock, the host's or a simulated one that planted work advances; the agent's beside it; the time ledger.

The agent of a host (trainer/launch/agent.py) answers its ranks' requests for its clock over a datagram socket.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import secrets
import socket
import struct
import threading
import time
from typing import Callable, Optional, Tuple

from evidence.events.training import PHASES

_NAP_S = 1.0
_FIRST_NS = 1_000_000_000  # a simulated clock begins here on every rank
_NEVER_NS = 2**60  # 36 years; a longer wait is a planted hang

AGENT_CLOCK = "ACCELERATOR_CONFORMANCE_AGENT_CLOCK"
"""The variable with the name of the socket at which the agent answers."""

AskAgent = Callable[[], Optional[Tuple[int, int, int]]]
"""Returns (rank's clock before, agent's clock, rank's clock after) in ns; None without an answer."""

_QUESTION, _ANSWER = struct.Struct("!Q"), struct.Struct("!Qq")  # a number, and with it the agent's time
_ANSWER_S = 1.0


class Clock:
    """The host's monotonic clock.

    >>> clock = Clock()
    >>> clock.wait_until(clock.now_ns() + 1_000)
    """

    kind = "real"

    def now_ns(self) -> int:
        """Return the time in ns; its zero is arbitrary."""
        return time.perf_counter_ns()

    def true_ns(self) -> int:
        """Return the time by which work is done: on a simulated clock, without the planted error of the rank's."""
        return self.now_ns()

    def ask_agent(self) -> AskAgent:
        """Return a function that reads the agent's clock beside this one."""
        return _Agent(os.environ.get(AGENT_CLOCK, ""), self.now_ns).ask

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

    `rate` is a planted error: `now_ns` runs so many times as fast as the true time, which all other methods take.

    >>> clock = SimulatedClock()
    >>> begun_ns = clock.now_ns()
    >>> clock.spend(5e6)
    >>> clock.now_ns() - begun_ns
    5000000
    """

    kind = "simulated"

    def __init__(self) -> None:
        self.rate = 1.0
        self._now_ns = _FIRST_NS
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def now_ns(self) -> int:
        """Return the simulated time in ns."""
        return self._now_ns if self.rate == 1.0 else _FIRST_NS + round((self._now_ns - _FIRST_NS) * self.rate)

    def true_ns(self) -> int:
        """Return the simulated time in ns without a planted error."""
        return self._now_ns

    def ask_agent(self) -> AskAgent:
        """Return a function that reads the true time, which the agent is given for its clock."""
        return lambda: (self.now_ns(), self.true_ns(), self.now_ns())

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


class AgentClock:
    """Answers requests for this process's clock in a thread, until `close`; `name` is for AGENT_CLOCK of the ranks.

    The clock is CLOCK_MONOTONIC_RAW, the oscillator's own: a time service that slews the clock of a rank leaves it.
    """

    def __init__(self) -> None:
        self.name = f"conformance-clock-{os.getpid()}-{secrets.token_hex(8)}"
        self._closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{self.name}")  # an abstract name (Linux): no file, and only for processes of this host
        threading.Thread(target=self._answer, name="agent clock", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while not self._closed:
                question, sender = self._socket.recvfrom(_QUESTION.size)
                now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
                with contextlib.suppress(OSError, TypeError, struct.error):  # who asked may be gone, or has no name
                    (number,) = _QUESTION.unpack(question)
                    self._socket.sendto(_ANSWER.pack(number, now_ns), sender)


class _Agent:
    """The rank's end: asks the agent that answers under `name`; "" if there is none."""

    def __init__(self, name: str, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._numbers = itertools.count(1)
        self._socket: socket.socket | None = None
        if name:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(_ANSWER_S)
            try:
                self._socket.bind("")  # Linux chooses an abstract name
                self._socket.connect(f"\0{name}")
            except OSError:
                self._socket = None

    def ask(self) -> tuple[int, int, int] | None:
        """Return the agent's time between two of this clock's; None without an answer within a second."""
        if self._socket is None:
            return None
        number = next(self._numbers)
        asked_ns = self._now_ns()
        try:
            self._socket.send(_QUESTION.pack(number))
            answered, agent_ns = 0, 0
            while answered != number:  # an answer to an earlier question came too late
                answered, agent_ns = _ANSWER.unpack(self._socket.recv(_ANSWER.size))
        except (OSError, struct.error):
            return None
        return asked_ns, agent_ns, self._now_ns()


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
