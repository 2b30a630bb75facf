"""The clock probe: compares step timer and synchronisation with the time until a known amount of work is really done.

The reference is reading a number of the result back, which cannot return before the work is done. Judging compares.
"""

from __future__ import annotations

import math
from typing import Any, Callable

from trainer.devices import Backend

_ROUNDS = 5
_WORK_NS = 20_000_000
_UNIT_NS = 2_000_000  # of work in one product: much more than queueing it takes
_SMALLEST, _LARGEST = 256, 4096
_MOST_UNITS = 64
_DIFFERENCE = 8
_CLOCK_READINGS = 10_000


def probe_clock(backend: Backend) -> dict[str, Any]:
    """Return the probe's measurements; times in ns, one entry a round in each list.

    `side`, `units`: the work of a round, see Backend.queue_work. `work_ns`: until a number of its result was read.
    `synchronise_ns`, `after_ns`: of the same work, until `synchronise` returned, and from there until the number was
    read. `timer_ns`, `timer_wall_ns`: the work by the step timer, and by the host's clock around it. `steps_back`: how
    often the host's clock went backwards in 10,000 readings.
    """
    side = _side(backend)
    units = max(2, min(_MOST_UNITS, math.ceil(_WORK_NS / _unit_ns(backend, side))))
    waits = [_synchronise_ns(backend, side, units) for _ in range(_ROUNDS)]
    timed = [_timer_ns(backend, side, units) for _ in range(_ROUNDS)]
    return {
        "side": side,
        "units": units,
        "work_ns": [_work_ns(backend, side, units) for _ in range(_ROUNDS)],
        "synchronise_ns": [wait for wait, _ in waits],
        "after_ns": [after for _, after in waits],
        "timer_ns": [seen for seen, _ in timed],
        "timer_wall_ns": [wall for _, wall in timed],
        "steps_back": _steps_back(backend.clock.now_ns),
    }


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
