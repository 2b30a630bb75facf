"""The clock probe sees an honest device as honest, and each kind of lie as what it is."""

from __future__ import annotations

import time
from typing import Any, Callable

import pytest

from trainer.devices import Backend
from trainer.devices.timers import StepTimer, WindowTimer
from trainer.probes.clocks import _steps_back, probe_clock

LISTS = ("work_ns", "synchronise_ns", "after_ns", "timer_ns", "timer_wall_ns")


class FakeDevice(Backend):
    """Work takes 3 ms a unit, whatever its side, and is queued at once."""

    name = "fake"
    blind = False

    def __init__(self) -> None:
        self.busy_until = 0.0

    def queue_work(self, side: int, units: int) -> Callable[[], float]:
        self.busy_until = done = max(self.busy_until, time.perf_counter()) + 0.003 * units
        return lambda: time.sleep(max(0.0, done - time.perf_counter())) or 0.0

    def synchronise(self) -> None:
        if not self.blind:
            time.sleep(max(0.0, self.busy_until - time.perf_counter()))

    def step_timer(self) -> StepTimer:
        return WindowTimer(self.synchronise)


def test_an_honest_device_is_waited_for_and_its_timer_sees_the_work() -> None:
    found = probe_clock(FakeDevice())

    assert {len(getattr(found, name)) for name in LISTS} == {5}
    assert min(found.synchronise_ns) >= found.units * 3e6 * 0.99
    assert min(found.timer_ns) >= found.units * 3e6 * 0.99
    assert min(found.work_ns) >= found.units * 3e6 * 0.99
    assert found.steps_back == 0


def test_a_synchronise_that_does_not_wait_leaves_the_wait_to_the_reader(monkeypatch: Any) -> None:
    monkeypatch.setattr(FakeDevice, "blind", True)

    found = probe_clock(FakeDevice())

    assert min(found.after_ns) > max(found.synchronise_ns)
    assert max(found.timer_ns) < min(found.timer_wall_ns) / 2


def test_a_clock_that_goes_back_is_counted() -> None:
    readings = iter([5, *([4, 6] * 5_000), 7])

    assert _steps_back(lambda: next(readings)) == 5_000


def test_the_cpus_own_clock_and_timer_are_honest() -> None:
    pytest.importorskip("torch")
    from trainer.devices import load_backend

    backend = load_backend("cpu")
    backend.open(0, 1)

    found = probe_clock(backend)

    for name in LISTS:
        assert min(getattr(found, name)) > 0
    assert found.units >= 2
