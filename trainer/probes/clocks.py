"""The clock probe: compares step timer and synchronisation with the time until a known amount of work is really done.

The reference is reading a number of the result back, which cannot return before the work is done. Judging compares.
"""

from __future__ import annotations

import math
from typing import Callable

from evidence.events import ClockProbe
from trainer.devices import Backend

_ROUNDS = 5
_WORK_NS = 20_000_000
_UNIT_NS = 2_000_000  # of work in one product: much more than queueing it takes
_SMALLEST, _LARGEST = 256, 4096
_MOST_UNITS = 64
_DIFFERENCE = 8
_CLOCK_READINGS = 10_000


def probe_clock(backend: Backend) -> ClockProbe:
    """Measure a known amount of work by the backend's clocks and the host's; see ClockProbe."""
    side = _side(backend)
    units = max(2, min(_MOST_UNITS, math.ceil(_WORK_NS / _unit_ns(backend, side))))
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
