"""The three timers, on a device that is a number of nanoseconds still to be worked off, and a clock that tests turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.devices.timers import EventTimer, StepTimer, StepTimes, SynchronisedTimer, WindowTimer, _shared_out


class Bench:
    """A host clock and a device with a queue: work that was queued is done when the clock has gone that far."""

    def __init__(self) -> None:
        self.now = 1_000
        self.busy_until = 0

    def clock(self) -> int:
        return self.now

    def queue(self, ns: int, host_ns: int = 1) -> None:
        self.busy_until = max(self.busy_until, self.now) + ns
        self.now += host_ns

    def synchronise(self) -> None:
        self.now = max(self.now, self.busy_until)

    def event(self) -> Event:
        return Event(self)


class Event:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def record(self) -> None:
        self.at = max(self.bench.now, self.bench.busy_until)

    def elapsed_time(self, later: Event) -> float:
        return (later.at - self.at) / 1e6


@pytest.fixture
def bench() -> Bench:
    return Bench()


def step(bench: Bench, timer: StepTimer, forward_ns: int = 30, backward_ns: int = 70) -> None:
    timer.start()
    bench.queue(forward_ns)
    timer.forward_done()
    bench.queue(backward_ns)
    timer.stop()


def wait_for_data(bench: Bench, timer: StepTimer, ns: int) -> None:
    timer.settle()
    bench.now += ns
    timer.idle(ns)


def test_a_synchronised_step_lasts_until_the_device_is_done(bench: Bench) -> None:
    timer = SynchronisedTimer(bench.synchronise, bench.clock)
    bench.queue(500)  # a copy that is still on its way when the step begins

    step(bench, timer)
    step(bench, timer)

    assert timer.drain() == StepTimes(compute_ns=[100, 100], host_ns=[2, 2], forward_ns=[1, 1])


def test_a_window_lasts_until_the_device_is_done_with_all_of_its_steps(bench: Bench) -> None:
    timer = WindowTimer(bench.synchronise, bench.clock)

    for _ in range(4):
        step(bench, timer)
    times = timer.drain()

    assert times.compute_ns == [100] * 4
    assert times.host_ns == [2] * 4
    assert timer.drain() == StepTimes()


def test_a_window_measures_its_first_forward_pass_and_no_other(bench: Bench) -> None:
    timer = WindowTimer(bench.synchronise, bench.clock)

    for forward_ns in (30, 40):
        bench.queue(500)  # what the device still had to do
        for more in (0, 5, 9):
            step(bench, timer, forward_ns + more)
        assert timer.drain().forward_ns == [forward_ns]


def test_a_wait_for_data_with_the_device_idle_is_taken_off_and_nothing_else_is(bench: Bench) -> None:
    timer = WindowTimer(bench.synchronise, bench.clock)

    step(bench, timer)
    wait_for_data(bench, timer, 1_000)
    step(bench, timer)
    bench.now += 40  # the next batch was there; the device is still at work
    step(bench, timer)

    assert sum(timer.drain().compute_ns) == 300


def test_the_wait_before_the_first_step_of_a_window_belongs_to_no_window(bench: Bench) -> None:
    timer = WindowTimer(bench.synchronise, bench.clock)

    for _ in range(2):
        wait_for_data(bench, timer, 5_000)
        step(bench, timer)
        assert timer.drain().compute_ns == [100]


def test_taking_off_waits_without_settling_would_call_a_slow_device_fast(bench: Bench) -> None:
    timer = WindowTimer(bench.synchronise, bench.clock)

    for _ in range(3):
        step(bench, timer)
        bench.now += 60  # the host waits while the device works
        timer.idle(60)

    assert sum(timer.drain().compute_ns) == 300


def test_events_see_the_device_and_not_the_host(bench: Bench) -> None:
    timer = EventTimer(bench.synchronise, bench.event, bench.clock)

    for _ in range(3):
        step(bench, timer)
        bench.now += 1_000
    times = timer.drain()

    assert times == StepTimes(compute_ns=[100] * 3, host_ns=[2] * 3, forward_ns=[30] * 3)
    assert timer.drain() == StepTimes()


SECOND = 10**9


def test_events_are_held_against_the_hosts_clock_from_a_windows_first_step_to_its_last(bench: Bench) -> None:
    timer = EventTimer(bench.synchronise, bench.event, bench.clock)
    bench.queue(SECOND)  # a copy, before the first step

    for _ in range(3):
        step(bench, timer, SECOND, SECOND)
    times = timer.drain()

    assert (times.span_ns, times.span_device_ns) == (6 * SECOND, 6 * SECOND)


def test_windows_that_are_too_short_are_taken_together_with_what_lies_between(bench: Bench) -> None:
    timer = EventTimer(bench.synchronise, bench.event, bench.clock)

    spans = []
    for _ in range(6):
        for _ in range(3):
            step(bench, timer, SECOND // 10, SECOND // 10)
        times = timer.drain()
        spans.append((times.span_ns, times.span_device_ns))
        bench.now += SECOND // 10  # a window is written

    whole = 3 * 6 * SECOND // 10 + 2 * SECOND // 10
    assert [span for span in spans if span != (0, 0)] == [(whole, whole)] * 2


def test_events_that_run_fast_are_seen_beside_the_hosts_clock(bench: Bench) -> None:
    class Fast(Event):
        def elapsed_time(self, later: Event) -> float:
            return super().elapsed_time(later) / 1.1

    timer = EventTimer(bench.synchronise, lambda: Fast(bench), bench.clock)

    for _ in range(3):
        step(bench, timer, SECOND, SECOND)
    times = timer.drain()

    assert times.span_device_ns == pytest.approx(times.span_ns / 1.1)


@given(total=st.integers(0, 10**12), weights=st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_what_is_shared_out_is_all_there_is_and_none_is_negative(total: int, weights: list[int]) -> None:
    parts = _shared_out(total, weights)

    assert sum(parts) == total
    assert len(parts) == len(weights)
    assert min(parts) >= 0


@given(
    steps=st.lists(st.tuples(st.integers(1, 200), st.integers(1, 300), st.integers(0, 400)), min_size=1, max_size=30)
)
def test_a_windows_time_is_never_less_than_the_device_worked(steps: list[tuple[int, int, int]]) -> None:
    bench = Bench()
    timer = WindowTimer(bench.synchronise, bench.clock)
    for work_ns, host_ns, wait_ns in steps:
        if wait_ns > 200:  # not there yet
            wait_for_data(bench, timer, wait_ns)
        else:
            bench.now += wait_ns
        timer.start()
        bench.queue(work_ns, host_ns)
        timer.stop()
    times = timer.drain()

    assert sum(times.compute_ns) >= sum(work for work, _, _ in steps)
