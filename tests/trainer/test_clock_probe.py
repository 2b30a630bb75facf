"""The clock probe sees an honest device as honest, and each kind of lie as what it is."""

from __future__ import annotations

import time
from typing import Any, Callable

import pytest

from evidence.events.clocks import AgentClock, ClockProbe, ClockRetest
from trainer.clocks import SimulatedClock
from trainer.devices import Backend
from trainer.devices.timers import StepTimer, WindowTimer
from trainer.errors import DeviceError
from trainer.probes import clocks
from trainer.probes.clocks import ClockWatch, _steps_back, probe_clock

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


class SimulatedDevice(Backend):
    """Takes `unit_ns` for a product by a simulated clock, but for the first ones, in which it is disturbed."""

    name = "simulated"

    def __init__(self, unit_ns: float, disturbed: int = 0) -> None:
        self.clock = SimulatedClock()
        self.unit_ns = unit_ns
        self.disturbed = disturbed

    def queue_work(self, side: int, units: int) -> Callable[[], float]:
        self.disturbed -= 1
        # Each product of the first ones seems to take as long as another process had the host.
        self.clock.spend(units * (20e6 if self.disturbed >= 0 else self.unit_ns))
        return lambda: 0.0

    def step_timer(self) -> StepTimer:
        return WindowTimer(self.synchronise, self.clock.now_ns)


def test_work_that_was_estimated_too_small_grows_until_it_is_long_enough() -> None:
    found = probe_clock(SimulatedDevice(unit_ns=100_000, disturbed=10))

    assert found.units == 128  # 2, and a fourfold of that three times
    assert found.shortest_ns == 12_800_000


def test_what_is_not_known_of_synchronise_is_in_the_event() -> None:
    device = SimulatedDevice(unit_ns=1_000_000)
    device.synchronise_note = "it takes no device"

    assert probe_clock(device).note == "it takes no device"


@pytest.mark.parametrize(("unit_ns", "limit"), [(0.0, "_PATIENCE_S"), (1.0, "_MOST_UNITS_GROWN")])
def test_a_device_on_which_no_work_is_long_enough_ends_the_boot_with_the_cause(
    unit_ns: float, limit: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(clocks, limit, 0)

    with pytest.raises(
        DeviceError, match=r"the clock test found 0\.\d{3} ms of work .* needs 1 ms or more; it tried for"
    ):
        probe_clock(SimulatedDevice(unit_ns))


class Notes:
    """What a rank's log would have."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def write(self, event: Any, t_ns: int | None = None) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


HONEST = ClockProbe((1,), (1,), (1,), (1,), (1,), 0, side=256, units=10)


def watched(seed: int, steps: int, window: int = 20, unit_ns: float = 2e6) -> Notes:
    """Train so many steps of 100 ms."""
    notes, device = Notes(), SimulatedDevice(unit_ns)
    watch = ClockWatch(device, notes, HONEST, seed)  # type: ignore[arg-type]
    watch.begin(steps)
    for step in range(window, steps + 1, window):
        device.clock.spend(window * 100e6)
        watch.step(step, window)
    watch.end()
    return notes


def test_clocks_are_tested_again_at_steps_drawn_from_the_seed_and_ever_more_rarely() -> None:
    steps = {seed: [again.step for again in watched(seed, 7_320).of(ClockRetest)] for seed in range(20)}

    assert watched(3, 7_320).of(ClockRetest)[0].step == steps[3][0]
    assert len({tuple(found) for found in steps.values()}) == 20
    for found in steps.values():
        assert 0 < found[0] <= 120
        assert 100 < found[1] <= 320
        assert 6 <= len(found) <= 7


@pytest.mark.parametrize("steps", [5, 40, 100])
def test_a_short_training_is_tested_once(steps: int) -> None:
    for seed in range(20):
        (again,) = watched(seed, steps, window=5).of(ClockRetest)
        assert 0 < again.step <= steps
        assert again.timer_ns == again.timer_wall_ns == (6_000_000,) * 3  # a fourth of ten products


def test_a_test_that_would_be_too_short_takes_more_work() -> None:
    (again,) = watched(0, 100, unit_ns=100_000).of(ClockRetest)

    assert again.timer_wall_ns == (19_200_000,) * 3  # 3 products, and a fourfold of that three times


def test_the_agents_clock_is_read_around_training_and_every_minute() -> None:
    readings = watched(0, 3_000).of(AgentClock)

    assert len(readings) == 2 + 5
    assert [one.agent_ns for one in readings] == [one.asked_ns for one in readings]


def test_an_agent_that_does_not_answer_is_not_asked_again_before_the_end(monkeypatch: Any) -> None:
    asked: list[None] = []
    monkeypatch.setattr(SimulatedClock, "ask_agent", lambda clock: lambda: asked.append(None))

    assert watched(0, 3_000).of(AgentClock) == []
    assert len(asked) == 2
