"""A simulated card: a queue that takes the planted time, the memory that it shows, and what goes wrong on the way."""

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

# What the SMI shows beside memory; no card is meant by these numbers.
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
_POWER_SWAY_W, _SWAY_S, _WARMING_S = 12.0, 7.0, 60.0


class Stream:
    """The work that was queued on a device: it is done in order, while the host goes on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy_until_ns = 0

    def reached_ns(self) -> int:
        """Return when the device will have done all that was queued: now, if it has."""
        return max(self._clock.now_ns(), self._busy_until_ns)

    def queue(self, work_ns: float) -> int:
        """Queue work that takes so long and return when it will be done."""
        self._busy_until_ns = self.reached_ns() + round(work_ns)
        return self._busy_until_ns

    def wait(self, until_ns: int | None = None) -> None:
        """Return at that time of the device's; without one, when all that was queued so far is done."""
        self._clock.wait_until(self._busy_until_ns if until_ns is None else until_ns)


class Event:
    """A mark in a stream's queue, with the two methods of torch's events that timers call."""

    def __init__(self, stream: Stream, too_fast: float = 1.0) -> None:
        self._stream = stream
        self._too_fast = too_fast
        self._at_ns = 0

    def record(self) -> None:
        """Mark what has been queued up to now."""
        self._at_ns = self._stream.reached_ns()

    def elapsed_time(self, end: Event) -> float:
        """Return the milliseconds on the card from this mark to `end`."""
        return (end._at_ns - self._at_ns) / NS_PER_MS / self._too_fast


@dataclass(frozen=True)
class PlantedStep:
    """The times of a step on one card, an image: its own forward pass, and all of it, the slowest card waited for."""

    forward_ns: float
    all_ns: float

    def of(self, images: int) -> PlantedStep:
        """Return the step for a batch of so many images."""
        return PlantedStep(self.forward_ns * images, self.all_ns * images)


def planted_steps(
    scenario: Scenario, rank: int, world_size: int, host_cards: Sequence[int] = ()
) -> Iterator[PlantedStep]:
    """Yield the steps of a rank's card without end; the same for the same scenario.

    No card can finish a step before the slowest has sent its gradients, so all take as long as that one. Every rank
    knows it without asking: the others' noise comes from the same seed. `host_cards` are the cards of every host by
    local rank; without them there is one host, and each rank has the card of its number.
    """
    host_cards = host_cards or range(world_size)
    everywhere = [(other, host_cards[other % len(host_cards)]) for other in range(world_size)]
    cards = [_own_times_ns(scenario, other, card, len(host_cards)) for other, card in everywhere]
    hangs = [fault for other, card in everywhere for fault in scenario.of_kind("hang", other, card)]
    step = 0
    while True:
        times_ns = [next(card) for card in cards]
        stuck = any(step >= fault["step"] for fault in hangs)
        yield PlantedStep(times_ns[rank] * scenario.forward_share, _NEVER_NS if stuck else max(times_ns))
        step += 1


def _own_times_ns(scenario: Scenario, rank: int, card: int, cards_of_host: int) -> Iterator[float]:
    """Yield how long a card that is alone takes for each step, an image: AR(1) noise around what is planted."""
    kept = scenario.autocorrelation
    node, local_rank = divmod(rank, cards_of_host)
    # Seeded by text, which random hashes the same way on every Python; noise is the card's own, whoever uses it.
    unit = str(rank) if card == local_rank else str(card) if node == 0 else f"{node}:{card}"
    noise, chance = (random.Random(f"{scenario.seed} {unit} {use}") for use in ("noise", "chance"))  # noqa: S311
    faults = [fault for fault in scenario.faults if fault.kind in _FACTORS and fault.on(rank, card)]
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
    """One rank's card. The trainer's thread calls `forward` and `backward` for each step, the watch's `samples`."""

    def __init__(
        self,
        scenario: Scenario,
        rank: int,
        world_size: int,
        *,
        index: int,
        host_cards: Sequence[int] = (),
        clock: Clock,
        kill: Callable[[int, int], None] = os.kill,
    ) -> None:
        self.stream = Stream(clock)
        self.name, self.capacity_gib, self.index = scenario.name, scenario.capacity_gib, index
        self._scenario, self._rank, self._true_index = scenario, rank, index
        for fault in self._planted("card"):
            self.name = fault["name"] or self.name
            self.capacity_gib = fault["capacity_gib"] or self.capacity_gib
            self.index = self.index if fault["index"] is None else fault["index"]
        self._clock, self._kill = clock, kill
        self._steps = planted_steps(scenario, rank, world_size, host_cards)
        self._begun = 0
        self._trains_since_ns: int | None = None
        self._now = PlantedStep(0, 0)

    def forward(self, images: int) -> None:
        """Queue the forward pass of the next step, of so many images. Raises RuntimeError for a card that is full."""
        step, self._begun = self._begun, self._begun + 1
        if self._trains_since_ns is None:
            self._trains_since_ns = self._clock.now_ns()
        if any(fault["step"] == step for fault in self._planted("die")):
            self._kill(os.getpid(), signal.SIGKILL)
        full = self._wanted_gib() > self.capacity_gib
        if full or any(fault["step"] == step for fault in self._planted("out_of_memory")):
            raise RuntimeError(
                f"virtual accelerator out of memory: tried to allocate 2.00 GiB on card {self.index}, which has "
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
        """Spend the time of so many images in an evaluation."""
        self._clock.spend(self._scenario.evaluate_ms * NS_PER_MS * images)

    def copy(self, images: int) -> None:
        """Spend the host's time for copying a batch of so many images to the card, which may compute meanwhile."""
        self._clock.spend(self._scenario.copy_ms * NS_PER_MS * images)

    def loss(self) -> float | None:
        """Return the number that the card gives for the loss of this step whatever it is; None: it computes rightly."""
        wrong = [fault["value"] for fault in self._planted("loss") if self._begun > fault["from_step"]]
        return float(wrong[-1]) if wrong else None

    def synchronise(self) -> None:
        """Wait for the card, unless it is planted that this does not."""
        if not self._planted("blind_synchronise"):
            self.stream.wait()

    def event(self) -> Event:
        """Return a new event of this card's stream."""
        too_fast = math.prod(fault["factor"] for fault in self._planted("fast_timer"))
        return Event(self.stream, too_fast)

    def used_gib(self) -> float:
        """Return the memory in use on the card."""
        return min(self._wanted_gib(), self.capacity_gib)

    def allocator_gib(self) -> tuple[float, float]:
        """Return what the allocator has given out and what it has reserved; planted memory never falls."""
        return self.used_gib() * _ALLOCATED, self.used_gib() * _RESERVED

    def samples(self) -> list[dict[str, Any]]:
        """Return what the card's SMI says. Raises DeviceError where it is planted that the SMI fails."""
        for fault in self._planted("no_samples"):
            if self._begun >= fault["from_step"]:
                if fault["how"] == "failing":
                    raise DeviceError("virtual_smi ended with code 1: cannot reach the card")
                return []
        sample = {
            "source": "virtual_smi",
            "card": self.index,
            "memory_used_gib": self.used_gib(),
            "memory_total_gib": self.capacity_gib,
            **self._readings(),
        }
        for fault in self._planted("throttle"):
            if self._begun > fault["from_step"]:
                sample["throttle"] = fault["reason"]
                sample["core_clock_mhz"] = round(sample["core_clock_mhz"] / fault["factor"], 1)
        return [sample]

    def _readings(self) -> dict[str, float]:
        """Return what a card at such work would show: made up, the same for every scenario, so that pages can be seen.

        It draws more while it trains, and warms up as a body of some mass does.
        """
        if self._trains_since_ns is None:
            return dict(_AT_REST)
        trained_s = (self._clock.now_ns() - self._trains_since_ns) / 1e9
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
        trained_s = (self._clock.now_ns() - self._trains_since_ns) / 1e9
        crept = [
            fault["gib_per_step"] * self._begun + fault["gib_per_s"] * trained_s
            for fault in self._planted("memory_creep")
        ]
        return self._scenario.memory_gib + sum(crept)

    def _planted(self, kind: str) -> list[Fault]:
        return self._scenario.of_kind(kind, self._rank, self._true_index)
