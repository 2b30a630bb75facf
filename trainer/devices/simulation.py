"""The simulated device of a rank: a queue that takes the planted time, its memory and SMI, and planted faults."""

from __future__ import annotations

import math
import os
import random
import signal
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping, Sequence

from trainer.clocks import Clock
from trainer.devices.scenario import Fault, Scenario
from trainer.errors import DeviceError

NS_PER_MS = 1e6
_NEVER_NS = 2**61  # some seventy years
_FASTEST = 0.1  # of the planted time: noise never brings a step below it
_IDLE_GIB = 0.5  # before training, the driver's own
# Of what the SMI shows, the shares that the framework's allocator has given out and has reserved.
_ALLOCATED, _RESERVED = 0.9, 0.96

# Readings of the SMI beside memory; not those of any product.
_AT_REST = {
    "power_w": 60.0,
    "temperature_c": 35.0,
    "use_percent": 0.0,
    "core_clock_mhz": 300.0,
    "memory_clock_mhz": 1600.0,
}
_AT_WORK = {
    "power_w": 280.0,
    "temperature_c": 68.0,
    "use_percent": 97.0,
    "core_clock_mhz": 1400.0,
    "memory_clock_mhz": 1600.0,
}
_LANES, _GENERATION = 16, 4
_POWER_SWAY_W, _SWAY_S, _WARMING_S = 12.0, 7.0, 60.0


class Stream:
    """A device's queue: work is done in order, asynchronously to the host."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy_until_ns = 0

    def reached_ns(self) -> int:
        """Return when the device will have done all queued work; now if it has."""
        return max(self._clock.true_ns(), self._busy_until_ns)

    def queue(self, work_ns: float) -> int:
        """Queue work of that duration and return when it will be done."""
        self._busy_until_ns = self.reached_ns() + round(work_ns)
        return self._busy_until_ns

    def wait(self, until_ns: int | None = None) -> None:
        """Return at `until_ns`; by default when all queued work is done."""
        self._clock.wait_until(self._busy_until_ns if until_ns is None else until_ns)


class Event:
    """An event in a stream's queue, with the two methods of torch's events that timers call."""

    def __init__(self, stream: Stream, too_fast: float = 1.0) -> None:
        self._stream = stream
        self._too_fast = too_fast
        self._at_ns = 0

    def record(self) -> None:
        """Record the end of the work queued so far."""
        self._at_ns = self._stream.reached_ns()

    def elapsed_time(self, end: Event) -> float:
        """Return the milliseconds on the device from this event to `end`."""
        return (end._at_ns - self._at_ns) / NS_PER_MS / self._too_fast


@dataclass(frozen=True)
class PlantedStep:
    """The times of a step per image on one device: its forward pass, and all of it with the wait for the slowest."""

    forward_ns: float
    all_ns: float

    def of(self, images: int) -> PlantedStep:
        """Return the step's times for a batch of `images`."""
        return PlantedStep(self.forward_ns * images, self.all_ns * images)


def planted_steps(
    scenario: Scenario, rank: int, world_size: int, host_devices: Sequence[int] = ()
) -> Iterator[PlantedStep]:
    """Yield the times of a rank's steps without end; the same for the same scenario.

    With DDP's all-reduce every step takes as long as on the slowest device. Each rank computes the others' times, from
    the same seed. `host_cards` are the device indexes of every host by local rank; by default there is one host
    with device i for rank i.
    """
    host_devices = host_devices or range(world_size)
    everywhere = [(other, host_devices[other % len(host_devices)]) for other in range(world_size)]
    devices = [_own_times_ns(scenario, other, index, len(host_devices)) for other, index in everywhere]
    hangs = [fault for other, index in everywhere for fault in scenario.of_kind("hang", other, index)]
    step = 0
    while True:
        times_ns = [next(device) for device in devices]
        stuck = any(step >= fault["step"] for fault in hangs)
        yield PlantedStep(times_ns[rank] * scenario.forward_share, _NEVER_NS if stuck else max(times_ns))
        step += 1


def _own_times_ns(scenario: Scenario, rank: int, index: int, devices_of_host: int) -> Iterator[float]:
    """Yield the time per image of each step on a device alone: AR(1) noise around the planted time."""
    kept = scenario.autocorrelation
    node, local_rank = divmod(rank, devices_of_host)
    # Seeded by text, which random hashes the same way on every Python; the noise belongs to the device, not the rank.
    unit = str(rank) if index == local_rank else str(index) if node == 0 else f"{node}:{index}"
    noise, chance = (random.Random(f"{scenario.seed} {unit} {use}") for use in ("noise", "chance"))  # noqa: S311
    faults = [fault for fault in scenario.faults if fault.kind in _FACTORS and fault.on(rank, index)]
    step, deviation = 0, noise.gauss(0, 1)
    while True:
        factor = max(_FASTEST, 1 + scenario.noise * deviation)
        for fault in faults:
            factor *= _FACTORS[fault.kind](fault, step, chance)
        yield scenario.image_ms * NS_PER_MS * factor
        deviation = kept * deviation + math.sqrt(1 - kept * kept) * noise.gauss(0, 1)
        step += 1


def _from_step(fault: Fault, step: int, _: random.Random) -> float:
    return float(fault["factor"]) if step >= fault["from_step"] else 1.0


def _stalled(fault: Fault, _: int, chance: random.Random) -> float:
    return float(fault["factor"]) if chance.random() < fault["share"] else 1.0


def _cold(fault: Fault, step: int, _: random.Random) -> float:
    left = max(0.0, 1 - step / fault["steps"])
    excess = (fault["factor"] - 1) * (left if fault["decay"] else left > 0)
    return float(1 + excess)


_FACTORS: Mapping[str, Callable[[Fault, int, random.Random], float]] = {
    "slow": _from_step,
    "throttle": _from_step,
    "stall": _stalled,
    "warmup": _cold,
}


class SimulatedDevice:
    """One rank's device. The trainer's thread calls `forward` and `backward` for each step, the watch's `samples`."""

    def __init__(
        self,
        scenario: Scenario,
        rank: int,
        world_size: int,
        *,
        index: int,
        host_devices: Sequence[int] = (),
        clock: Clock,
        kill: Callable[[int, int], None] = os.kill,
    ) -> None:
        self.stream = Stream(clock)
        self.name, self.capacity_gib, self.index = scenario.name, scenario.capacity_gib, index
        self._scenario, self._rank, self._true_index = scenario, rank, index
        for fault in self.planted("card"):
            self.name = fault["name"] or self.name
            self.capacity_gib = fault["capacity_gib"] or self.capacity_gib
            self.index = self.index if fault["index"] is None else fault["index"]
        self._clock, self._kill = clock, kill
        self._steps = planted_steps(scenario, rank, world_size, host_devices)
        self._begun = 0
        self._probe_noise = random.Random(f"{scenario.seed} {rank} probes")  # noqa: S311 - nothing secret
        self._probed_ns = 0.0
        self._tested = False
        self._trains_since_ns: int | None = None
        self._now = PlantedStep(0, 0)

    def forward(self, images: int) -> None:
        """Queue the forward pass of the next step, of `images`. Raises RuntimeError if memory is exhausted."""
        step, self._begun, self._tested = self._begun, self._begun + 1, False
        if self._trains_since_ns is None:
            self._trains_since_ns = self._clock.true_ns()
        if any(fault["step"] == step for fault in self.planted("die")):
            self._kill(os.getpid(), signal.SIGKILL)
        full = self._wanted_gib() > self.capacity_gib
        if full or any(fault["step"] == step for fault in self.planted("out_of_memory")):
            raise RuntimeError(
                f"virtual accelerator out of memory: tried to allocate 2.00 GiB on device {self.index}, which has "
                f"{self.capacity_gib:.2f} GiB"
            )
        self._now = next(self._steps).of(images)
        self.stream.queue(self._now.forward_ns)
        self._launch(self._scenario.forward_share)

    def backward(self) -> None:
        """Queue the rest of the step that `forward` began."""
        self.stream.queue(self._now.all_ns - self._now.forward_ns)
        self._launch(1 - self._scenario.forward_share)

    def _launch(self, share: float) -> None:
        self._clock.spend(self._scenario.launch_ms * NS_PER_MS * share)

    def evaluate(self, images: int) -> None:
        """Spend the time of evaluating `images`."""
        self._clock.spend(self._scenario.evaluate_ms * NS_PER_MS * images)

    def copy(self, images: int) -> None:
        """Spend the host's time for copying a batch of `images`; the device may compute meanwhile."""
        self._clock.spend(self._scenario.copy_ms * NS_PER_MS * images)

    def loss(self) -> float | None:
        """Return the planted wrong loss of this step; None without one."""
        wrong = [fault["value"] for fault in self.faults("loss")]
        return float(wrong[-1]) if wrong else None

    def planted(self, kind: str) -> list[Fault]:
        """Return the faults of a kind that are planted on this device, from whichever step on."""
        return self._scenario.of_kind(kind, self._rank, self._true_index)

    def faults(self, kind: str) -> list[Fault]:
        """Return the faults of a kind, with a key `from_step`, that are in force in the step that was begun last."""
        return [fault for fault in self.planted(kind) if self._begun > fault["from_step"]]

    def test_work(self, work_ns: float) -> int:
        """Queue work of the clock test and return when it will be done."""
        self._tested = True
        return self.stream.queue(work_ns)

    def probe_work(self, part: str, amount: float) -> None:
        """Queue work of a probe: FLOPs of gemm and convolution, bytes of copies and memory."""
        planted, noise = self._scenario, self._probe_noise
        per_ns = {
            "copies": planted.copy_gb_per_s,
            "memory": planted.memory_gb_per_s,
            "gemm": planted.gemm_tflops * 1e3,
            "convolution": planted.convolution_tflops * 1e3,
        }[part]
        work_ns = amount / per_ns * max(_FASTEST, 1 + planted.noise * noise.gauss(0, 1))
        work_ns *= math.prod(fault["factor"] for fault in self.planted("slow_part") if fault["part"] == part)
        work_ns *= math.prod(fault["factor"] for fault in self._hot())
        self._probed_ns += work_ns
        self.stream.queue(work_ns)

    def is_wrong(self, part: str) -> bool:
        """Return whether wrong results are planted in this part of the device."""
        return any(fault["part"] == part for fault in self.planted("wrong_part"))

    def _hot(self) -> list[Fault]:
        """Return the planted overheating that the work of probes has led to."""
        return [fault for fault in self.planted("overheat") if self._probed_ns > fault["after_s"] * 1e9]

    def synchronise(self) -> None:
        """Wait for the device, unless `blind_synchronise` is planted."""
        for fault in self.planted("blind_synchronise"):
            if self._begun >= fault["from_step"] and not (fault["only_training"] and self._tested):
                return
        self.stream.wait()

    def clock_rate(self) -> float:
        """Return how many times as fast as the time the rank's clock runs."""
        return math.prod(fault["rate"] for fault in self.planted("wrong_clock"))

    def event(self) -> Event:
        """Return a new event of this device's stream."""
        too_fast = math.prod(fault["factor"] for fault in self.planted("fast_timer"))
        return Event(self.stream, too_fast)

    def used_gib(self) -> float:
        """Return the memory in use on the device in GiB."""
        return min(self._wanted_gib(), self.capacity_gib)

    def allocator_gib(self) -> tuple[float, float]:
        """Return the peaks of allocated and reserved memory in GiB; planted memory never falls."""
        return self.used_gib() * _ALLOCATED, self.used_gib() * _RESERVED

    def samples(self) -> list[dict[str, Any]]:
        """Return the sample of the simulated SMI. Raises DeviceError if a failing SMI is planted."""
        for fault in self.planted("no_samples"):
            if self._begun >= fault["from_step"]:
                if fault["how"] == "failing":
                    raise DeviceError("virtual_smi ended with code 1: cannot reach the device")
                return []
        sample = {
            "source": "virtual_smi",
            "card": self.index,
            "memory_used_gib": self.used_gib(),
            "memory_total_gib": self.capacity_gib,
            **self._readings(),
        }
        for fault in self.planted("throttle"):
            if self._begun > fault["from_step"]:
                sample["throttle"] = fault["reason"]
                sample["core_clock_mhz"] = round(sample["core_clock_mhz"] / fault["factor"], 1)
        for fault in self._hot():
            sample["throttle"] = fault["reason"]
            sample["core_clock_mhz"] = round(sample["core_clock_mhz"] / fault["factor"], 1)
        return [sample]

    def health(self) -> dict[str, Any]:
        """Return fields of the event `health`: those of a sound device on PCIe 4.0 x16, and planted faults."""
        link = {"pcie_width": _LANES, "pcie_width_max": _LANES}
        link.update(pcie_generation=_GENERATION, pcie_generation_max=_GENERATION)
        found: dict[str, Any] = {"ecc_corrected": 0, "ecc_uncorrected": 0, "retired_pages": 0, **link, "kernel_log": []}
        for fault in self.faults("ecc_errors"):
            found["ecc_corrected" if fault["corrected"] else "ecc_uncorrected"] += fault["count"]
        for fault in self.faults("retired_pages"):
            found["retired_pages"] += fault["count"]
        for name, key in (("pcie_width", "lanes"), ("pcie_generation", "generation")):
            for fault in self.planted(name):
                if self._begun >= fault["from_step"]:
                    found[name] = fault[key]
        for fault in self.faults("xid"):
            found["kernel_log"].append(f"NVRM: Xid (PCI:{self.index:04x}:00:00): {fault['number']}, planted")
        return found

    def _readings(self) -> dict[str, float]:
        """Return made-up readings, the same for every scenario: higher power while training, exponential warming."""
        if self._trains_since_ns is None and not self._probed_ns:
            return dict(_AT_REST)
        trained_s = self._probed_ns / 1e9
        if self._trains_since_ns is not None:
            trained_s = (self._clock.true_ns() - self._trains_since_ns) / 1e9
        sway = math.sin(trained_s / _SWAY_S + self.index)
        warmed = 1 - math.exp(-trained_s / _WARMING_S)
        return {
            "power_w": round(_AT_WORK["power_w"] + _POWER_SWAY_W * sway, 1),
            "temperature_c": round(
                _AT_REST["temperature_c"] + (_AT_WORK["temperature_c"] - _AT_REST["temperature_c"]) * warmed, 1
            ),
            "use_percent": round(_AT_WORK["use_percent"] + sway, 1),
            "core_clock_mhz": _AT_WORK["core_clock_mhz"],
            "memory_clock_mhz": _AT_WORK["memory_clock_mhz"],
        }

    def _wanted_gib(self) -> float:
        if self._trains_since_ns is None:
            return min(_IDLE_GIB, self._scenario.memory_gib)
        trained_s = (self._clock.true_ns() - self._trains_since_ns) / 1e9
        crept = [
            fault["gib_per_step"] * self._begun + fault["gib_per_s"] * trained_s
            for fault in self.planted("memory_creep")
        ]
        return self._scenario.memory_gib + sum(crept)
