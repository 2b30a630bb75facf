"""Three ways to time the compute region of a step: at each step, by windows of steps, or by the device's own events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

Now = Callable[[], int]
"""A clock's reading in ns."""


@dataclass
class StepTimes:
    """Nanoseconds of each step's region since the last reading, one entry a step in each list.

    `compute_ns` is synchronised with the device, `host_ns` is the region by the host's clock without synchronisation,
    and `forward_ns` the part before the backward pass, in which no rank waits for another: of the first steps, as many
    as it has entries. `span_ns` is the host's time between two synchronisations, `span_device_ns` that of the device's
    events inside; 0 if no span ended.
    """

    compute_ns: list[int] = field(default_factory=list)
    host_ns: list[int] = field(default_factory=list)
    forward_ns: list[int] = field(default_factory=list)
    span_ns: int = 0
    span_device_ns: int = 0


class StepTimer:
    """What all timers share: a region is `start`, `forward_done`, `stop`; `drain` returns what was read.

    Around a wait for data the loop calls `settle` before it, if the data are not there yet, and `idle` after it.
    """

    method = ""
    #: Whether only the sum of a window is exact.
    by_window = False

    def __init__(self, synchronise: Callable[[], None], now_ns: Now = time.perf_counter_ns) -> None:
        self._synchronise = synchronise
        self._now_ns = now_ns
        self._begun_ns = 0
        self._times = StepTimes()

    def start(self) -> None:
        """Begin a region."""
        self._begun_ns = self._now_ns()

    def forward_done(self) -> None:
        """Note that the forward pass has been queued."""
        self._times.forward_ns.append(self._now_ns() - self._begun_ns)

    def stop(self) -> None:
        """End the region."""
        self._times.host_ns.append(self._now_ns() - self._begun_ns)

    def settle(self) -> None:
        """The host is about to wait for data: a timer that has to know when the device is idle waits for it now."""

    def idle(self, wait_ns: int) -> None:
        """The host has waited so long since `settle`."""

    def drain(self) -> StepTimes:
        """Return the times of the regions since the last call, and forget them."""
        times, self._times = self._times, StepTimes()
        return times


class SynchronisedTimer(StepTimer):
    """Waits for the device at both ends of every region: for devices whose work is finished when a call returns."""

    method = "synchronised"

    def start(self) -> None:
        """Begin a region; what was copied to the device before has to be there already."""
        self._synchronise()
        super().start()

    def stop(self) -> None:
        super().stop()
        self._synchronise()
        self._times.compute_ns.append(self._now_ns() - self._begun_ns)


class WindowTimer(StepTimer):
    """Waits for the device at the edges of a window of steps, and before a wait for data that are not there yet.

    Between two edges the device may work on while the host copies and waits, so none of that can be taken off, except
    a wait that began with the device idle. Copies stay in. The result is never less than the time that the device
    computed, so a rate from it is never too high; the window's time is shared out among its steps in proportion to the
    host's clock, and only its sum is exact.

    Without events the host cannot tell a rank's own time from its wait for the others in the all-reduce, except at the
    window's edge: the first forward pass begins with the device idle, and is waited for. The bubble that this leaves
    in the device's queue, once a window, counts as compute.
    """

    method = "synchronised_windows"
    by_window = True

    def __init__(self, synchronise: Callable[[], None], now_ns: Now = time.perf_counter_ns) -> None:
        super().__init__(synchronise, now_ns)
        self._opened_ns: int | None = None
        self._idle_ns = 0
        self._settled = False

    def start(self) -> None:
        """Begin a region, and with the first one the window."""
        if self._opened_ns is None:
            self._synchronise()
            self._opened_ns = self._now_ns()
        super().start()

    def forward_done(self) -> None:
        """Wait for the first forward pass of the window; the wait is no part of the host's own time."""
        if self._times.forward_ns:
            return
        queued_ns = self._now_ns()
        self._synchronise()
        super().forward_done()
        self._begun_ns += self._now_ns() - queued_ns

    def settle(self) -> None:
        """Wait for the device, so that the host's wait which follows is the device's too."""
        if self._opened_ns is not None:
            self._synchronise()
            self._settled = True

    def idle(self, wait_ns: int) -> None:
        """Take the wait off, if the device was known to be idle in it."""
        if self._settled:
            self._idle_ns += wait_ns
        self._settled = False

    def drain(self) -> StepTimes:
        """Wait for the device, close the window and share its time out."""
        times = super().drain()
        if self._opened_ns is not None:
            self._synchronise()
            spent_ns = self._now_ns() - self._opened_ns - self._idle_ns
            times.compute_ns = _shared_out(spent_ns, times.host_ns)
        self._opened_ns, self._idle_ns = None, 0
        return times


LEAST_SPAN_NS = 2_000_000_000
"""Over less the host's readings at both ends could make a difference of 1 %."""


class TimedEvent(Protocol):
    """An event of the device, as torch.cuda.Event."""

    def record(self) -> None:
        """Record it on the current stream."""

    def elapsed_time(self, end: Any) -> float:
        """Return the milliseconds to another event."""


class EventTimer(StepTimer):
    """Records device events on the current stream around each region; nothing waits until the times are drained.

    The events are held against the host's clock over spans of LEAST_SPAN_NS or more: each begins with the device idle,
    at the first event of a window, and ends with the last event of that window or a later one.
    """

    method = "device_events"

    def __init__(
        self, synchronise: Callable[[], None], new_event: Callable[[], TimedEvent], now_ns: Now = time.perf_counter_ns
    ) -> None:
        super().__init__(synchronise, now_ns)
        self._new_event = new_event
        self._events: list[list[TimedEvent]] = []
        self._span: tuple[int, TimedEvent] | None = None  # the host's time before it, and its first event

    def start(self) -> None:
        """Record the first event. The copy was queued on the same stream before it, so it is not counted."""
        self._events.append([])
        if self._span is None:
            self._synchronise()
            idle_ns = self._now_ns()
            self._span = idle_ns, self._record()
        else:
            self._record()
        super().start()

    def forward_done(self) -> None:
        self._record()

    def stop(self) -> None:
        super().stop()
        self._record()

    def drain(self) -> StepTimes:
        """Wait for the device and read the events."""
        self._synchronise()
        done_ns = self._now_ns()
        times = super().drain()
        if self._span is not None and self._events and done_ns - self._span[0] >= LEAST_SPAN_NS:
            times.span_ns = done_ns - self._span[0]
            times.span_device_ns = _between_ns(self._span[1], self._events[-1][-1])
            self._span = None
        times.compute_ns = [_between_ns(events[0], events[-1]) for events in self._events]
        times.forward_ns = [_between_ns(events[0], events[1]) for events in self._events]
        self._events = []
        return times

    def _record(self) -> TimedEvent:
        event = self._new_event()
        event.record()
        self._events[-1].append(event)
        return event


def _between_ns(begin: TimedEvent, end: TimedEvent) -> int:
    return round(begin.elapsed_time(end) * 1e6)  # torch gives milliseconds


def _shared_out(total_ns: int, weights_ns: list[int]) -> list[int]:
    """Split a time into whole nanoseconds in proportion to the weights; the parts sum to it exactly."""
    weight = sum(weights_ns)
    parts, seen, given = [], 0, 0
    for at, part in enumerate(weights_ns, start=1):
        seen += part
        upto = total_ns * seen // weight if weight > 0 else total_ns * at // len(weights_ns)
        parts.append(upto - given)
        given = upto
    return parts
