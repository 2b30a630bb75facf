"""The clock probe: compares step timer and synchronisation with the time until a known amount of work is really done.

The reference is reading a number of the result back, which cannot return before the work is done. It runs before
training and, shorter, at random steps of it; in training the agent's clock is read beside the rank's. Judging compares.
"""

from __future__ import annotations

import math
import random
import time
from typing import Callable

from evidence.events.clocks import LEAST_WORK_NS, AgentClock, ClockProbe, ClockRetest
from evidence.rank_file import EventLog
from trainer.devices import Backend
from trainer.errors import DeviceError

_ROUNDS = 5
_WORK_NS = 20_000_000
_ENOUGH_NS = 5 * LEAST_WORK_NS  # of work in a round: less is tried again with more
_UNIT_NS = 2_000_000  # of work in one product: much more than queueing it takes
_SMALLEST, _LARGEST = 256, 4096
_MOST_UNITS, _MOST_UNITS_GROWN = 64, 65_536
_GROWTH = 4
_PATIENCE_S = 30.0
_DIFFERENCE = 8
_CLOCK_READINGS = 10_000

_RETEST_ROUNDS, _RETEST_SHARE = 3, 4  # a fourth of the work, so that one takes about 30 ms
_FIRST_STEPS = 100  # in which the first retest is; each further stretch is twice as long and has one
_ASKED = 5
_BETWEEN_NS = 60_000_000_000  # from one reading of the agent's clock to the next


def probe_clock(backend: Backend) -> ClockProbe:
    """Measure a known amount of work by the backend's clocks and the host's; see ClockProbe.

    The amount is estimated first. If it was too little after all, as other processes disturbed the estimate, it grows.
    Raises DeviceError if no amount becomes long enough within half a minute.
    """
    begun_s = time.monotonic()
    side = _side(backend)
    units = max(2, min(_MOST_UNITS, math.ceil(_WORK_NS / _unit_ns(backend, side))))
    while True:
        probe = _probe(backend, side, units)
        tried_s = time.monotonic() - begun_s
        if probe.shortest_ns >= _ENOUGH_NS:
            return probe
        if units >= _MOST_UNITS_GROWN or tried_s > _PATIENCE_S:
            break
        units *= _GROWTH
    if probe.shortest_ns >= LEAST_WORK_NS:
        return probe
    raise DeviceError(
        f"the clock test found {probe.shortest_ns / 1e6:.3f} ms of work in {units} products of matrices of {side}, and "
        f"needs {LEAST_WORK_NS / 1e6:g} ms or more; it tried for {tried_s:.0f} s. Either the device does not do what "
        "is queued, or this host's clock stands still"
    )


def _probe(backend: Backend, side: int, units: int) -> ClockProbe:
    waits = [_synchronise_ns(backend, side, units) for _ in range(_ROUNDS)]
    timed = [_timer_ns(backend, side, units) for _ in range(_ROUNDS)]
    return ClockProbe(
        work_ns=tuple(_work_ns(backend, side, units) for _ in range(_ROUNDS)),
        synchronise_ns=tuple(wait for wait, _ in waits),
        after_ns=tuple(after for _, after in waits),
        timer_ns=tuple(seen for seen, _ in timed),
        timer_wall_ns=tuple(wall for _, wall in timed),
        steps_back=_steps_back(backend.clock.now_ns),
        side=side,
        units=units,
        note=backend.synchronise_note,
    )


class ClockWatch:
    """Watches the clocks during training: call `begin` and `end` around it and `step` between windows of steps.

    Writes a reading of the agent's clock at both ends and every minute, and a `clock_retest` at steps drawn from
    `seed`, the same on all ranks, so that none waits for another's: one in the first hundred steps, one in the next two
    hundred, and so on, ever rarer.
    """

    def __init__(self, backend: Backend, log: EventLog, probe: ClockProbe, seed: int) -> None:
        self._backend = backend
        self._log = log
        self._side = probe.side or _SMALLEST
        self._units = math.ceil((probe.units or 1) / _RETEST_SHARE)
        self._draw = random.Random(f"clock retest {seed}")  # noqa: S311 - nothing secret
        self._ask = backend.clock.ask_agent()
        self._read_ns = self._done = 0
        self._silent = False
        self._stretch = (0, _FIRST_STEPS)
        self._due = 0

    def begin(self, steps: int) -> None:
        """Training begins, of `steps` at least."""
        self._stretch = (0, max(1, min(steps, _FIRST_STEPS)))
        self._due = self._draw.randrange(*self._stretch)
        self._read_agent(_ASKED)

    def step(self, step: int, taken: int) -> None:
        """Training has taken so many more steps; the next is number `step` of the run. The device is idle."""
        self._done += taken
        if not self._silent and self._backend.clock.now_ns() - self._read_ns >= _BETWEEN_NS:
            self._read_agent(1)
        if self._done > self._due:
            self._log.write(self._retest(step))
            while self._due < self._done:
                first, length = self._stretch[1], 2 * (self._stretch[1] - self._stretch[0])
                self._stretch = (first, first + length)
                self._due = self._draw.randrange(*self._stretch)

    def end(self) -> None:
        """Training has ended."""
        self._read_agent(_ASKED)

    def _read_agent(self, times: int) -> None:
        """Write the reading of `times` that took the shortest."""
        self._read_ns = self._backend.clock.now_ns()
        readings = []
        for _ in range(times):
            reading = self._ask()
            if reading is None:  # it waited for a second: not again before the end
                self._silent = True
                break
            readings.append(reading)
        if readings:
            asked_ns, agent_ns, answered_ns = min(readings, key=lambda one: one[2] - one[0])
            self._log.write(AgentClock(asked_ns, agent_ns, answered_ns))

    def _retest(self, step: int) -> ClockRetest:
        # The estimate may be from a time when other processes had the host.
        while _work_ns(self._backend, self._side, self._units) < _ENOUGH_NS and self._units < _MOST_UNITS_GROWN:
            self._units *= _GROWTH
        waits = [_synchronise_ns(self._backend, self._side, self._units) for _ in range(_RETEST_ROUNDS)]
        timed = [_timer_ns(self._backend, self._side, self._units) for _ in range(_RETEST_ROUNDS)]
        return ClockRetest(
            step=step,
            synchronise_ns=tuple(wait for wait, _ in waits),
            after_ns=tuple(after for _, after in waits),
            timer_ns=tuple(seen for seen, _ in timed),
            timer_wall_ns=tuple(wall for _, wall in timed),
        )


def _side(backend: Backend) -> int:
    side = _SMALLEST
    _work_ns(backend, side, 1)  # the first work on a device loads its libraries
    while side < _LARGEST and _unit_ns(backend, side) < _UNIT_NS:
        side *= 2
    return side


def _unit_ns(backend: Backend, side: int) -> int:
    """The time of one product: the difference of many and one, which cancels launch and read-back."""
    many, one = (min(_work_ns(backend, side, units) for _ in range(2)) for units in (1 + _DIFFERENCE, 1))
    return max(1, (many - one) // _DIFFERENCE)


def _work_ns(backend: Backend, side: int, units: int) -> int:
    begun_ns = backend.clock.now_ns()
    backend.queue_work(side, units)()
    return backend.clock.now_ns() - begun_ns


def _synchronise_ns(backend: Backend, side: int, units: int) -> tuple[int, int]:
    begun_ns = backend.clock.now_ns()
    read = backend.queue_work(side, units)
    backend.synchronise()
    waited_ns = backend.clock.now_ns()
    read()
    return waited_ns - begun_ns, backend.clock.now_ns() - waited_ns


def _timer_ns(backend: Backend, side: int, units: int) -> tuple[int, int]:
    timer = backend.step_timer()
    begun_ns = backend.clock.now_ns()
    timer.start()
    read = backend.queue_work(side, units)
    timer.forward_done()
    timer.stop()
    times = timer.drain()
    read()
    return times.compute_ns[0], backend.clock.now_ns() - begun_ns


def _steps_back(clock: Callable[[], int]) -> int:
    back, before = 0, clock()
    for _ in range(_CLOCK_READINGS):
        now = clock()
        back += now < before
        before = now
    return back
