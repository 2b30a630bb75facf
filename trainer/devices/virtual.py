"""Simulated cards: everything is real but the device and, unless a scenario wants it, the time.

The ranks, their collectives, the data, the model and the loop are those of any run, on this machine's CPU. What is
simulated is a card with a queue: a step takes its planted time there while the host runs ahead, as on a real one. The
time is that of a clock which only what is planted advances.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Mapping, Sequence

from trainer.clocks import Clock, SimulatedClock
from trainer.devices.arrivals import Arrivals
from trainer.devices.base import Backend, Card, Inventory, Samples, visible_index
from trainer.devices.scenario import Scenario, load_scenario
from trainer.devices.simulation import NS_PER_MS, SimulatedCard
from trainer.devices.streams import CopyStream
from trainer.devices.timers import EventTimer, StepTimer, WindowTimer
from trainer.errors import DeviceError

if TYPE_CHECKING:
    import torch

_PRODUCT_SIDE, _PRODUCT_MS = 256, 2.0  # what a product of matrices takes; it grows with the cube of the side


class VirtualBackend(Backend):
    """One simulated card a rank; what it computes is right, and where a scenario says so, when it does is wrong."""

    name = "virtual"
    environment: ClassVar[Mapping[str, str]] = {"OMP_WAIT_POLICY": "PASSIVE"}
    visible_cards = "VIRTUAL_VISIBLE_DEVICES"
    simulated = True
    copies_beside = True
    sampler_source = "virtual_smi"

    _scenario = Scenario()
    _rank, _world_size = 0, 1
    _host_cards = 1
    _card: SimulatedCard

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

    def open(self, local_rank: int, local_world_size: int) -> Card:
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
        self._card = SimulatedCard(
            self._scenario,
            self._rank,
            self._world_size,
            index=host_cards[local_rank],
            host_cards=host_cards,
            clock=self.clock,
        )
        card = self._card
        return Card(card.name, card.index, card.capacity_gib, "simulated", serial=f"SIM-{card.index:04d}")

    def attend(self, model: torch.nn.Module) -> None:
        """Queue the planted work of a step whenever the model's forward and backward passes begin in training."""

        def before(module: Any, batch: Any) -> None:
            if module.training:
                self._card.forward(len(batch[0]))
            else:
                self._card.evaluate(len(batch[0]))

        def after(module: Any, _: Any, losses: Any) -> Any:
            if not module.training:
                return None
            wrong = self._card.loss()
            if wrong is not None:
                losses = {name: loss * 0 + wrong / len(losses) for name, loss in losses.items()}
            next(iter(losses.values())).register_hook(lambda gradient: self._card.backward())
            return losses

        model.register_forward_pre_hook(before)
        model.register_forward_hook(after)

    def synchronise(self) -> None:
        """Wait for the simulated card."""
        self._card.synchronise()

    def numbers(self, scalars: Sequence[torch.Tensor]) -> list[float]:
        """Read scalars back; they are there when the card has done what was queued."""
        self._card.stream.wait()
        return super().numbers(scalars)

    def step_timer(self) -> StepTimer:
        """Time by the card's events, or by windows where the scenario says so."""
        if self._scenario.timing == "windows":
            return WindowTimer(self.synchronise, self.clock.now_ns)
        return EventTimer(self.synchronise, self._card.event, self.clock.now_ns)

    def arriving(self, batches: Any, *, batch_size: int, workers: int) -> Any:
        """Return the batches as the planted decoding delivers them, in simulated time."""
        if not isinstance(self.clock, SimulatedClock):
            return batches
        return Arrivals(batches, self.clock, round(batch_size * self._scenario.decode_ms * NS_PER_MS), workers)

    def copied(self, images: int) -> None:
        """Spend the planted time of a copy."""
        self._card.copy(images)

    def copy_stream(self) -> CopyStream:
        """Return copies in the thread that asks for them, which take the card no time."""
        return CopyStream()

    def queue_work(self, side: int, units: int) -> Callable[[], float]:
        """Queue the planted time of so many products; of matrices of 1/side, a product has 1/side everywhere too."""
        stream = self._card.stream
        done_ns = stream.queue(units * _PRODUCT_MS * NS_PER_MS * (side / _PRODUCT_SIDE) ** 3)

        def read() -> float:
            stream.wait(done_ns)
            return 1.0 / side

        return read

    def sampler(self, local_rank: int, rank_pids: Sequence[int]) -> Callable[[], Samples] | None:
        """Every rank asks its own card's simulated SMI."""
        return self._card.samples

    def inventory(self, card: Card, smi: str = "") -> Inventory:
        """Return the simulated cards of this host's ranks: nobody plants others."""
        return Inventory(self._host_cards, (card.name,), (card.capacity_gib or 0.0,) * self._host_cards, card.driver)

    def allocator_peak_gib(self) -> tuple[float | None, float | None]:
        """Return the planted peaks."""
        return self._card.allocator_gib()


BACKEND = VirtualBackend
