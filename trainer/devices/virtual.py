"""Simulated cards: everything is real but the device and, unless a scenario wants it, the time.

The ranks, their collectives, the data, the model and the loop are those of any run, on this machine's CPU. What is
simulated is a card with a queue: a step takes its planted time there while the host runs ahead, as on a real one. The
time is that of a clock which only what is planted advances.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Iterable, Mapping, Sequence

from trainer.clocks import Clock, SimulatedClock
from trainer.devices.base import Backend, CopyStream, DeviceInfo, Inventory, visible_index
from trainer.devices.scenario import Scenario, load_scenario
from trainer.devices.simulation import NS_PER_MS, SimulatedDevice
from trainer.devices.timers import EventTimer, StepTimer, WindowTimer
from trainer.errors import DeviceError
from trainer.telemetry import DevicePlace, Sampler, declare
from trainer.telemetry.metrics import CARD_METRICS

if TYPE_CHECKING:
    import torch

VIRTUAL_SMI = declare(
    "virtual_smi",
    tuple(CARD_METRICS.values()),
    "every rank, on simulated devices: made-up numbers, and what a scenario plants",
    "-",
)

_PRODUCT_SIDE, _PRODUCT_MS = 256, 2.0  # what a product of matrices takes; it grows with the cube of the side
_AHEAD = 2  # batches that torch's DataLoader requests of each worker in advance


class Arrivals:
    """Iterates over `batches`, advancing `clock` to the arrival of each.

    A worker decodes a batch in `decode_ns`, one after the other; as one is taken, the next is asked for. Without
    workers a batch is decoded when it is wanted.
    """

    def __init__(self, batches: Iterable[Any], clock: SimulatedClock, decode_ns: int, workers: int) -> None:
        self._batches = batches
        self._iterator = iter(batches)
        self._clock = clock
        self._decode_ns = decode_ns
        self._free_ns = [clock.now_ns()] * workers
        self._arrivals_ns: deque[int] = deque()
        for _ in range(_AHEAD * workers):
            self._ask()

    @property
    def ready(self) -> bool:
        """Whether `next` returns without a wait in simulated time; always false for a loader that cannot say."""
        return hasattr(self._batches, "ready") and self._arrivals_ns[0] <= self._clock.now_ns()

    def __iter__(self) -> Arrivals:
        return self

    def __next__(self) -> Any:
        batch = next(self._iterator)
        if self._free_ns:
            self._clock.wait_until(self._arrivals_ns.popleft())
            self._ask()
        else:
            self._clock.spend(self._decode_ns)
        return batch

    def close(self) -> None:
        """Close the batches, where they can be."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def _ask(self) -> None:
        worker = self._free_ns.index(min(self._free_ns))
        self._free_ns[worker] = max(self._free_ns[worker], self._clock.now_ns()) + self._decode_ns
        self._arrivals_ns.append(self._free_ns[worker])


class VirtualBackend(Backend):
    """One simulated card a rank; what it computes is right, and where a scenario says so, when it does is wrong."""

    name = "virtual"
    environment: ClassVar[Mapping[str, str]] = {"OMP_WAIT_POLICY": "PASSIVE"}
    visible_cards = "VIRTUAL_VISIBLE_DEVICES"
    simulated = True
    copies_beside = True

    _scenario = Scenario()
    _rank, _world_size = 0, 1
    _host_cards = 1
    _device: SimulatedDevice

    def configure(self, scenario: Path | None, *, rank: int, world_size: int) -> None:
        """Read the scenario; without one, the steady device of the defaults."""
        self._rank, self._world_size = rank, world_size
        if scenario is not None:
            self._scenario = load_scenario(scenario, world_size=world_size)
        if self._scenario.clock == "simulated":
            self.clock = SimulatedClock()
        else:
            self.clock = Clock()
            self.decode_delay_s = self._scenario.decode_ms / 1e3

    def planted(self) -> dict[str, Any]:
        """Return the scenario in force, defaults included."""
        return self._scenario.facts()

    def host_name(self) -> str:
        """Return this host's name, or that of the one that it stands for when a launch simulates several."""
        return os.environ.get("VIRTUAL_HOST") or super().host_name()

    def open(self, local_rank: int, local_world_size: int) -> DeviceInfo:
        """Make this rank's card; the host's part of the work is one thread's."""
        import torch

        listed = [name for name in os.environ.get(self.visible_cards, "").split(",") if name.strip()]
        if listed and len(listed) < local_world_size:
            raise DeviceError(
                f"{local_world_size} cards are needed on this host and {len(listed)} are visible; check "
                f"{self.visible_cards}"
            )
        torch.set_num_threads(1)
        # To prepare a oneDNN convolution takes longer than to compute one of the tiny model's.
        torch.backends.mkldnn.set_flags(_enabled=False)
        self.device = torch.device("cpu")
        self._host_cards = max(len(listed), local_world_size)
        # Those of this host; of the others' the same is assumed.
        host_cards = [visible_index(self.visible_cards, local) for local in range(local_world_size)]
        self._device = SimulatedDevice(
            self._scenario,
            self._rank,
            self._world_size,
            index=host_cards[local_rank],
            host_cards=host_cards,
            clock=self.clock,
        )
        card = self._device
        return DeviceInfo(card.name, card.index, card.capacity_gib, "simulated", serial=f"SIM-{card.index:04d}")

    def attend(self, model: torch.nn.Module) -> None:
        """Queue the planted work of a step whenever the model's forward and backward passes begin in training."""

        def before(module: Any, batch: Any) -> None:
            if module.training:
                self._device.forward(len(batch[0]))
            else:
                self._device.evaluate(len(batch[0]))

        def after(module: Any, _: Any, losses: Any) -> Any:
            if not module.training:
                return None
            wrong = self._device.loss()
            if wrong is not None:
                losses = {name: loss * 0 + wrong / len(losses) for name, loss in losses.items()}
            next(iter(losses.values())).register_hook(lambda gradient: self._device.backward())
            return losses

        model.register_forward_pre_hook(before)
        model.register_forward_hook(after)

    def synchronise(self) -> None:
        """Wait for the simulated card."""
        self._device.synchronise()

    def numbers(self, scalars: Sequence[torch.Tensor]) -> list[float]:
        """Read scalars back; they are there when the card has done what was queued."""
        self._device.stream.wait()
        return super().numbers(scalars)

    def step_timer(self) -> StepTimer:
        """Time by the card's events, or by windows where the scenario says so."""
        if self._scenario.timing == "windows":
            return WindowTimer(self.synchronise, self.clock.now_ns)
        return EventTimer(self.synchronise, self._device.event, self.clock.now_ns)

    def arriving(self, batches: Any, *, batch_size: int, workers: int) -> Any:
        """Return the batches as the planted decoding delivers them, in simulated time."""
        if not isinstance(self.clock, SimulatedClock):
            return batches
        return Arrivals(batches, self.clock, round(batch_size * self._scenario.decode_ms * NS_PER_MS), workers)

    def copied(self, images: int) -> None:
        """Spend the planted time of a copy."""
        self._device.copy(images)

    def copy_stream(self) -> CopyStream:
        """Return copies in the thread that asks for them, which take the card no time."""
        return CopyStream()

    def queue_work(self, side: int, units: int) -> Callable[[], float]:
        """Queue the planted time of so many products; of matrices of 1/side, a product has 1/side everywhere too."""
        stream = self._device.stream
        done_ns = stream.queue(units * _PRODUCT_MS * NS_PER_MS * (side / _PRODUCT_SIDE) ** 3)

        def read() -> float:
            stream.wait(done_ns)
            return 1.0 / side

        return read

    def samplers(
        self, local_rank: int, *, rank_pids: Sequence[int] = (), places: Sequence[DevicePlace] = (), smi: str = ""
    ) -> list[Sampler]:
        """Every rank asks its own device's simulated SMI."""
        return [Sampler(VIRTUAL_SMI, self._device.samples), *super().samplers(local_rank)]

    def inventory(self, device: DeviceInfo, smi: str = "") -> Inventory:
        """Return the simulated devices of this host's ranks; there are no others."""
        memory_gib = (device.capacity_gib or 0.0,) * self._host_cards
        return Inventory(self._host_cards, (device.name,), memory_gib, device.driver)

    def allocator_peak_gib(self) -> tuple[float | None, float | None]:
        """Return the planted peaks."""
        return self._device.allocator_gib()


BACKEND = VirtualBackend
