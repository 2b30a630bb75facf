"""The simulated device does in its own time what is planted, while the host goes on by a simulated clock."""

from __future__ import annotations

import itertools
import math
import signal
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.clocks import SimulatedClock
from trainer.devices.scenario import FAULTS, Fault, Scenario
from trainer.devices.simulation import Event, PlantedStep, SimulatedDevice, Stream, planted_steps
from trainer.errors import DeviceError

MS = 1_000_000


class Host:
    """The simulated clock that a device goes by, and the signals that it sends."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.killed: list[Any] = []

    @property
    def now_ns(self) -> int:
        return self.clock.now_ns()

    def kill(self, pid: int, number: int) -> None:
        self.killed.append(number)


@pytest.fixture
def host() -> Host:
    return Host()


def fault(kind: str, **values: Any) -> Fault:
    keys = FAULTS[kind]
    assert set(values) <= set(keys)
    return Fault(kind, {**{key: known.default for key, known in keys.items()}, **values})


def planted(*faults: Fault, **changes: Any) -> Scenario:
    return Scenario(**{"noise": 0.0, "image_ms": 10.0, "launch_ms": 0.0, "faults": faults, **changes})


def device_of(host: Host, scenario: Scenario, rank: int = 0, world_size: int = 2) -> SimulatedDevice:
    return SimulatedDevice(scenario, rank, world_size, index=rank, clock=host.clock, kill=host.kill)


def times_ms(scenario: Scenario, steps: int, rank: int = 0, world_size: int = 1) -> list[float]:
    return [step.all_ns / MS for step in itertools.islice(planted_steps(scenario, rank, world_size), steps)]


# ---- the queue ----


def test_work_is_done_one_after_the_other_while_the_host_goes_on(host: Host) -> None:
    stream = Stream(host.clock)

    first, second = stream.queue(5 * MS), stream.queue(7 * MS)

    assert (first, second) == (1_005 * MS, 1_012 * MS)
    assert host.now_ns == 1_000 * MS


def test_an_idle_device_begins_when_the_work_comes(host: Host) -> None:
    stream = Stream(host.clock)
    stream.queue(5 * MS)
    host.clock.spend(20 * MS)

    assert stream.queue(5 * MS) == 1_025 * MS


def test_waiting_lasts_until_the_work_is_done_and_no_longer(host: Host) -> None:
    stream = Stream(host.clock)
    early = stream.queue(2_500 * MS)
    stream.queue(500 * MS)

    stream.wait(early)
    assert host.now_ns == 3_500 * MS
    stream.wait()
    assert host.now_ns == 4_000 * MS
    stream.wait()
    assert host.now_ns == 4_000 * MS


def test_events_tell_the_devices_time_between_what_was_queued(host: Host) -> None:
    stream = Stream(host.clock)
    begin, end = Event(stream), Event(stream)

    begin.record()
    stream.queue(7 * MS)
    end.record()

    assert begin.elapsed_time(end) == 7.0
    assert host.now_ns == 1_000 * MS


def test_a_host_that_is_slower_than_the_device_is_seen_by_the_events(host: Host) -> None:
    stream = Stream(host.clock)
    begin, end = Event(stream), Event(stream)

    begin.record()
    stream.queue(7 * MS)
    host.clock.spend(9 * MS)
    end.record()

    assert begin.elapsed_time(end) == 9.0


# ---- what is planted ----


def test_without_noise_every_step_takes_its_images_time() -> None:
    steps = list(itertools.islice(planted_steps(planted(forward_share=0.25), 0, 4), 3))

    assert steps == [PlantedStep(2.5 * MS, 10.0 * MS)] * 3
    assert steps[0].of(4) == PlantedStep(10.0 * MS, 40.0 * MS)


def test_the_same_scenario_plants_the_same_and_another_seed_or_rank_another() -> None:
    noisy = planted(noise=0.03)

    assert times_ms(noisy, 50) == times_ms(noisy, 50)
    assert times_ms(noisy, 50) != times_ms(planted(noise=0.03, seed=1), 50)
    forward = [next(planted_steps(noisy, rank, 2)).forward_ns for rank in (0, 1)]
    assert forward[0] != forward[1]


def test_the_noise_has_the_planted_spread_and_memory() -> None:
    times = times_ms(planted(noise=0.03, autocorrelation=0.6), 20_000)

    mean = statistics.mean(times)
    deviations = [time - mean for time in times]
    variance = statistics.pvariance(times)
    lag_1 = statistics.mean(a * b for a, b in zip(deviations, deviations[1:])) / variance
    assert mean == pytest.approx(10.0, rel=0.003)
    assert math.sqrt(variance) / mean == pytest.approx(0.03, rel=0.05)
    assert lag_1 == pytest.approx(0.6, abs=0.03)


@given(st.integers(1, 6), st.integers(0, 9), st.floats(0, 0.3))
def test_all_ranks_wait_for_the_slowest_and_each_has_its_own_forward_pass(world: int, seed: int, noise: float) -> None:
    scenario = planted(noise=noise, seed=seed)

    ranks = [list(itertools.islice(planted_steps(scenario, rank, world), 5)) for rank in range(world)]

    for steps in zip(*ranks):
        own_ns = [step.forward_ns / scenario.forward_share for step in steps]
        assert {step.all_ns for step in steps} == {steps[0].all_ns}
        assert steps[0].all_ns == pytest.approx(max(own_ns))


def test_a_slow_rank_holds_up_all_and_shows_in_its_own_forward_pass() -> None:
    scenario = planted(fault("slow", factor=1.1, ranks=(1,)), forward_share=0.5)

    first, second = (next(planted_steps(scenario, rank, 2)) for rank in (0, 1))

    assert (first.forward_ns, second.forward_ns) == (5.0 * MS, pytest.approx(5.5 * MS))
    assert first.all_ns == second.all_ns == pytest.approx(11.0 * MS)


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (fault("slow", factor=2.0, from_step=2), [10, 10, 20, 20, 20]),
        (fault("throttle", factor=1.5, from_step=3), [10, 10, 10, 15, 15]),
        (fault("warmup", factor=3.0, steps=2), [30, 30, 10, 10, 10]),
        (fault("warmup", factor=3.0, steps=4, decay=True), [30, 25, 20, 15, 10]),
        (fault("stall", share=1.0, factor=2.0), [20] * 5),
        (fault("stall", share=0.0, factor=2.0), [10] * 5),
    ],
)
def test_a_fault_makes_its_own_steps_longer(planned: Fault, expected: list[float]) -> None:
    assert times_ms(planted(planned), 5) == pytest.approx(expected)


def test_faults_add_up() -> None:
    scenario = planted(fault("slow", factor=2.0), fault("warmup", factor=3.0, steps=1))

    assert times_ms(scenario, 2) == pytest.approx([60.0, 20.0])


def test_stalls_come_as_often_as_planted() -> None:
    times = times_ms(planted(fault("stall", share=0.1, factor=3.0)), 5_000)

    assert sum(time > 20 for time in times) / 5_000 == pytest.approx(0.1, abs=0.015)


def test_noise_of_any_size_leaves_every_step_its_time() -> None:
    assert min(times_ms(planted(noise=0.3, autocorrelation=0.0), 20_000)) >= 1.0


def test_a_device_that_hangs_stops_all_ranks() -> None:
    scenario = planted(fault("hang", step=2, ranks=(1,)))

    for rank in (0, 1):
        steps = list(itertools.islice(planted_steps(scenario, rank, 2), 4))
        assert [step.all_ns > 3600e9 for step in steps] == [False, False, True, True]
        assert all(step.forward_ns == 4.0 * MS for step in steps)


# ---- the device ----


def test_a_step_takes_its_time_on_the_device_and_none_of_the_hosts(host: Host) -> None:
    card = device_of(host, planted(forward_share=0.25))
    events = [card.event() for _ in range(3)]

    events[0].record()
    card.forward(images=4)
    events[1].record()
    card.backward()
    events[2].record()

    assert (events[0].elapsed_time(events[1]), events[0].elapsed_time(events[2])) == (10.0, 40.0)
    assert host.now_ns == 1_000 * MS
    card.synchronise()
    assert host.now_ns == 1_040 * MS


def test_synchronise_does_not_wait_where_that_is_planted(host: Host) -> None:
    scenario = planted(fault("blind_synchronise", ranks=(1,)))

    for rank, waited_ms in ((0, 10), (1, 0)):
        card, begun_ns = device_of(host, scenario, rank), host.now_ns
        card.forward(images=1)
        card.backward()
        card.synchronise()
        assert host.now_ns - begun_ns == waited_ms * MS


def test_events_of_a_fast_timer_tell_less(host: Host) -> None:
    card = device_of(host, planted(fault("fast_timer", factor=2.0)))
    begin, end = card.event(), card.event()

    begin.record()
    card.forward(images=1)
    card.backward()
    end.record()

    assert begin.elapsed_time(end) == 5.0


def test_memory_is_in_use_once_training_has_begun(host: Host) -> None:
    card = device_of(host, planted(memory_gib=20.0))

    before = card.used_gib()
    card.forward(images=1)

    assert 0 < before < 1
    assert card.used_gib() == 20.0
    allocated_gib, reserved_gib = card.allocator_gib()
    assert 0 < allocated_gib < reserved_gib < 20.0


def test_memory_creeps_by_step_or_by_second_until_the_device_is_full(host: Host) -> None:
    card = device_of(host, planted(fault("memory_creep", gib_per_step=5.0), memory_gib=20.0))
    other = device_of(host, planted(fault("memory_creep", gib_per_s=1.0), memory_gib=20.0))

    other.forward(images=1)
    for expected_gib in (25.0, 30.0):
        card.forward(images=1)
        assert card.used_gib() == expected_gib
    host.clock.spend(3_000 * MS)

    assert other.used_gib() == 23.0
    with pytest.raises(RuntimeError, match="virtual accelerator out of memory"):
        card.forward(images=1)
    assert card.used_gib() == 32.0


def test_out_of_memory_comes_at_its_step_on_its_rank(host: Host) -> None:
    scenario = planted(fault("out_of_memory", step=1, ranks=(1,)))
    spared, struck = device_of(host, scenario, 0), device_of(host, scenario, 1)

    for card in (spared, spared, spared, struck):
        card.forward(images=1)

    with pytest.raises(RuntimeError, match=r"out of memory: tried to allocate 2\.00 GiB on device 1, which has 32\.00"):
        struck.forward(images=1)


def test_a_rank_dies_by_the_signal_that_nobody_can_catch(host: Host) -> None:
    card = device_of(host, planted(fault("die", step=2)))

    for step in range(3):
        assert host.killed == []
        card.forward(images=1)
        assert step < 2 or host.killed == [signal.SIGKILL]


def test_another_device_is_found_where_one_is_planted(host: Host) -> None:
    scenario = planted(fault("card", ranks=(1,), name="Another", capacity_gib=16.0, index=0))

    cards = [device_of(host, scenario, rank) for rank in (0, 1)]

    assert [(card.name, card.capacity_gib, card.index) for card in cards] == [
        ("Virtual accelerator", 32.0, 0),
        ("Another", 16.0, 0),
    ]


def test_a_wrong_loss_is_given_from_its_step_on(host: Host) -> None:
    card = device_of(host, planted(fault("loss", value=0.5, from_step=1)))

    found = []
    for _ in range(3):
        card.forward(images=1)
        found.append(card.loss())

    assert found == [None, 0.5, 0.5]


# ---- its SMI ----


def test_the_smi_shows_the_device(host: Host) -> None:
    card = device_of(host, planted(), rank=1)
    card.forward(images=1)

    (sample,) = card.samples()
    found = {"source": "virtual_smi", "card": 1, "memory_used_gib": 20.0, "memory_total_gib": 32.0}
    assert {name: sample[name] for name in found} == found
    assert set(sample) - set(found) == {
        "power_w",
        "temperature_c",
        "use_percent",
        "core_clock_mhz",
        "memory_clock_mhz",
    }


def test_a_device_that_trains_draws_more_and_warms_up_and_one_that_throttles_is_clocked_down(host: Host) -> None:
    card = device_of(host, planted(fault("throttle", from_step=1, factor=2.0)))
    (rest,) = card.samples()
    card.forward(images=1)
    host.clock.spend(120 * 10**9)
    (work,) = card.samples()
    card.forward(images=1)
    (slowed,) = card.samples()

    assert (rest["power_w"], rest["temperature_c"], rest["use_percent"]) == (60.0, 35.0, 0.0)
    assert work["power_w"] > 200
    assert 60 < work["temperature_c"] < 68
    assert slowed["core_clock_mhz"] == work["core_clock_mhz"] / 2


def test_throttling_shows_from_its_step_on(host: Host) -> None:
    card = device_of(host, planted(fault("throttle", from_step=1, reason="thermal")))

    card.forward(images=1)
    assert "throttle" not in card.samples()[0]
    card.forward(images=1)
    assert card.samples()[0]["throttle"] == "thermal"


def test_the_smi_can_be_missing_or_fail(host: Host) -> None:
    missing = device_of(host, planted(fault("no_samples", how="missing")))
    failing = device_of(host, planted(fault("no_samples", how="failing", from_step=1)))

    assert missing.samples() == []
    assert len(failing.samples()) == 1
    failing.forward(images=1)
    with pytest.raises(DeviceError, match="virtual_smi ended with code 1"):
        failing.samples()


def test_a_slow_device_is_slow_for_whichever_rank_uses_it() -> None:
    scenario = planted(fault("slow", factor=2.0, cards=(3,)))

    alone = [next(planted_steps(scenario, 0, 1, [card])).all_ns / MS for card in (0, 3)]
    beside = [next(planted_steps(scenario, rank, 2, [3, 4])) for rank in (0, 1)]

    assert alone == [10.0, 20.0]
    assert [step.all_ns / MS for step in beside] == [20.0, 20.0]  # everybody waits for it
    assert beside[0].forward_ns == 2 * beside[1].forward_ns


def test_every_device_has_noise_of_its_own() -> None:
    noisy = planted(noise=0.05)

    first = [next(planted_steps(noisy, 0, 1, [card])).all_ns for card in range(8)]

    assert len(set(first)) == 8
    assert first[0] == next(planted_steps(noisy, 0, 1)).all_ns


def test_the_same_devices_of_two_hosts_differ_too() -> None:
    noisy = planted(noise=0.05)

    forward = {next(planted_steps(noisy, rank, 4, [4, 6])).forward_ns for rank in range(4)}

    assert len(forward) == 4


def test_a_hang_stays_with_its_device() -> None:
    scenario = planted(fault("hang", step=0, cards=(3,)))

    assert next(planted_steps(scenario, 0, 1, [2])).all_ns == 10 * MS
    assert next(planted_steps(scenario, 0, 1, [3])).all_ns > 10**17


def test_a_device_that_claims_another_place_keeps_its_own_faults(host: Host) -> None:
    scenario = planted(fault("card", index=1, cards=(3,)), fault("out_of_memory", step=0, cards=(3,)))
    card = SimulatedDevice(scenario, 0, 1, index=3, host_devices=[3], clock=host.clock, kill=host.kill)

    assert card.index == 1
    with pytest.raises(RuntimeError, match="out of memory"):
        card.forward(1)


def test_a_device_is_sound_but_for_what_is_planted_and_from_then_on(host: Host) -> None:
    sound = device_of(host, planted()).health()
    faults = (
        fault("ecc_errors", count=2, from_step=1),
        fault("ecc_errors", count=5, corrected=True),
        fault("retired_pages", count=1),
        fault("pcie_width", lanes=8),
        fault("pcie_generation", generation=2, from_step=1),
        fault("xid", number=79),
    )
    device = device_of(host, planted(*faults))

    before = device.health()
    device.forward(1)
    after_one = device.health()
    device.forward(1)

    assert sound["pcie_width"] == sound["pcie_width_max"] == 16
    assert before == {**sound, "pcie_width": 8}
    assert (after_one["ecc_uncorrected"], after_one["ecc_corrected"], after_one["retired_pages"]) == (0, 5, 1)
    assert (device.health()["ecc_uncorrected"], device.health()["pcie_generation"]) == (2, 2)
    assert device.health()["kernel_log"] == ["NVRM: Xid (PCI:0000:00:00): 79, planted"]
