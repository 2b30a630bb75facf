"""The virtual device: real ranks, collectives, data, model and loop on this machine's CPU, on a simulated device.

The device has a queue: a step takes its planted time there while the host runs ahead. The time is that of a simulated
clock, which only planted work advances, unless the scenario chooses the real one.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ClassVar, ContextManager, Iterable, Iterator, Mapping, Sequence

from evidence.events.peaks import COPIES, PRODUCTS
from evidence.telemetry import DEVICE_READINGS
from trainer.clocks import Clock, SimulatedClock
from trainer.devices.base import Backend, CopyStream, DeviceInfo, Inventory, T, visible_index
from trainer.devices.numeric_faults import NumericFaults
from trainer.devices.scenario import VIRTUAL_HOST, Scenario, load_scenario
from trainer.devices.simulated_links import SimulatedLinks
from trainer.devices.simulation import NS_PER_MS, SimulatedDevice
from trainer.devices.timers import EventTimer, StepTimer, WindowTimer
from trainer.errors import DeviceError
from trainer.telemetry.base import DevicePlace, Sampler, declare

if TYPE_CHECKING:
    import torch

    from trainer.links.exchange import Exchange, RoundTrip
    from trainer.numerics.cases import Case
    from trainer.numerics.operators import Tensors

VIRTUAL_SMI = declare(
    "virtual_smi",
    tuple(DEVICE_READINGS.values()),
    "every rank, on simulated devices: made-up numbers, and what a scenario plants",
    "-",
)

_PRODUCT_SIDE, _PRODUCT_MS = 256, 2.0  # what a product of matrices takes; it grows with the cube of the side
_AHEAD = 2  # batches that torch's DataLoader requests of each worker in advance


class Arrivals(Iterator[T]):
    """Iterates over `batches`, advancing `clock` to the simulated arrival of each.

    A worker decodes one batch after the other in `decode_ns`; as one is taken, the next is requested. Without workers a
    batch is decoded when it is requested.
    """

    def __init__(self, batches: Iterable[T], clock: SimulatedClock, decode_ns: int, workers: int) -> None:
        self._batches = batches
        self._iterator = iter(batches)
        self._clock = clock
        self._decode_ns = decode_ns
        self._free_ns = [clock.true_ns()] * workers
        self._arrivals_ns: deque[int] = deque()
        for _ in range(_AHEAD * workers):
            self._ask()

    @property
    def ready(self) -> bool:
        """Whether `next` returns without a wait in simulated time; False for a loader without `ready`."""
        return hasattr(self._batches, "ready") and self._arrivals_ns[0] <= self._clock.true_ns()

    def __next__(self) -> T:
        batch = next(self._iterator)
        if self._free_ns:
            self._clock.wait_until(self._arrivals_ns.popleft())
            self._ask()
        else:
            self._clock.spend(self._decode_ns)
        return batch

    def close(self) -> None:
        """Close the batches, if they have `close`."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def _ask(self) -> None:
        worker = self._free_ns.index(min(self._free_ns))
        self._free_ns[worker] = max(self._free_ns[worker], self._clock.true_ns()) + self._decode_ns
        self._arrivals_ns.append(self._free_ns[worker])


class VirtualBackend(Backend):
    """One simulated device a rank; results are right, times and faults are those of the scenario."""

    name = "virtual"
    environment: ClassVar[Mapping[str, str]] = {"OMP_WAIT_POLICY": "PASSIVE"}
    visible_devices = "VIRTUAL_VISIBLE_DEVICES"
    simulated = True
    copies_beside = True
    probe_cut = 256

    _planted = _scenario = Scenario()
    _rank, _world_size = 0, 1
    _host_devices = 1
    _device: SimulatedDevice

    def configure(self, scenario: Path | None, *, rank: int, world_size: int) -> None:
        """Read the scenario; the default is a steady device."""
        self._rank, self._world_size = rank, world_size
        if scenario is not None:
            self._planted = load_scenario(scenario, world_size=world_size)
            self._scenario = self._planted.on_host(self.host_name())
        if self._scenario.clock == "simulated":
            self.clock = SimulatedClock()
        else:
            self.clock = Clock()
            self.decode_delay_s = self._scenario.decode_ms / 1e3

    def planted(self) -> dict[str, Any]:
        return self._planted.facts()

    def host_name(self) -> str:
        """Return this host's name, or the one that a launch of several simulated hosts gave it."""
        return os.environ.get(VIRTUAL_HOST) or super().host_name()

    def open(self, local_rank: int, local_world_size: int) -> DeviceInfo:
        """Make this rank's device; the host computes with one thread."""
        import torch

        listed = [name for name in os.environ.get(self.visible_devices, "").split(",") if name.strip()]
        if listed and len(listed) < local_world_size:
            raise DeviceError(
                f"{local_world_size} devices are needed on this host and {len(listed)} are visible; check "
                f"{self.visible_devices}"
            )
        torch.set_num_threads(1)
        # Preparing a oneDNN convolution takes longer than computing one of the tiny model.
        torch.backends.mkldnn.set_flags(_enabled=False)
        self.device = torch.device("cpu")
        self._host_devices = max(len(listed), local_world_size)
        # Of this host; the same is assumed of the others.
        host_devices = [visible_index(self.visible_devices, local) for local in range(local_world_size)]
        self._device = SimulatedDevice(
            self._scenario,
            self._rank,
            self._world_size,
            index=host_devices[local_rank],
            host_devices=host_devices,
            clock=self.clock,
        )
        device = self._device
        planted = self._scenario.of_kind("numerics", self._rank, device.index)
        self._numeric_faults = NumericFaults(planted, self._scenario.seed + self._rank)
        place = (self._rank, device.index, self._world_size, local_world_size)
        self._links = SimulatedLinks(self._scenario, *place, self.clock, device.stream)
        if isinstance(self.clock, SimulatedClock):
            self.clock.rate = device.clock_rate()
        serial = f"SIM-{device.index:04d}"
        return DeviceInfo(device.name, device.index, device.capacity_gib, "simulated", serial=serial)

    def attend(self, model: torch.nn.Module) -> None:
        """Register hooks that queue the planted work of each forward and backward pass."""

        def before(module: torch.nn.Module, batch: Any) -> None:
            if module.training:
                self._device.forward(len(batch[0]))
            else:
                self._device.evaluate(len(batch[0]))

        def after(module: torch.nn.Module, _: object, losses: Any) -> Any:
            if not module.training:
                return None
            wrong = self._device.loss()
            if wrong is not None:
                losses = {name: loss * 0 + wrong / len(losses) for name, loss in losses.items()}
            if self._device.faults("no_backward"):
                # A backward pass from here reaches no parameter, and takes no time.
                return {name: loss.detach().requires_grad_() for name, loss in losses.items()}
            next(iter(losses.values())).register_hook(lambda gradient: self._device.backward())
            return losses

        model.register_forward_pre_hook(before)
        model.register_forward_hook(after)

    def attend_training(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Plant the faults of the optimizer and of DDP's exchange."""
        take_step = optimizer.step

        def step() -> Any:
            return None if self._device.faults("idle_optimizer") else take_step()

        optimizer.step = step
        if self._device.planted("no_exchange") and self._world_size > 1:
            model.register_comm_hook(None, lambda _, bucket: _done(bucket.buffer()))

    def synchronise(self) -> None:
        self._device.synchronise()

    def numbers(self, scalars: Sequence[torch.Tensor]) -> list[float]:
        self._device.stream.wait()
        return super().numbers(scalars)

    def step_timer(self) -> StepTimer:
        """Time by the device's events, or by windows if the scenario has `timing = "windows"`."""
        if self._scenario.timing == "windows":
            return WindowTimer(self.synchronise, self.clock.now_ns)
        return EventTimer(self.synchronise, self._device.event, self.clock.now_ns)

    def arriving(self, batches: Any, *, batch_size: int, workers: int, training: bool = True) -> Any:
        """Return the batches, arriving in simulated time after their planted decoding."""
        if training and self._device.planted("same_batch"):
            batches = _first_for_ever(batches)
        if not isinstance(self.clock, SimulatedClock):
            return batches
        return Arrivals(batches, self.clock, round(batch_size * self._scenario.decode_ms * NS_PER_MS), workers)

    def copied(self, images: int) -> None:
        self._device.copy(images)

    def copy_stream(self) -> CopyStream:
        """Return a stream that copies in the calling thread and takes the device no time."""
        return CopyStream()

    def queue_work(self, side: int, units: int) -> Callable[[], float]:
        """Queue the planted time of the products; with matrices of 1/side, every element of a product is 1/side."""
        stream = self._device.stream
        done_ns = self._device.test_work(units * _PRODUCT_MS * NS_PER_MS * (side / _PRODUCT_SIDE) ** 3)

        def read() -> float:
            stream.wait(done_ns)
            return 1.0 / side

        return read

    def compute(self, case: Case, inputs: Tensors, compute: Callable[[Tensors], torch.Tensor]) -> torch.Tensor:
        return self._numeric_faults.compute(case, inputs, compute)

    def step_arithmetic(self, model: torch.nn.Module) -> ContextManager[Any]:
        return self._numeric_faults.in_step(model)

    def communicate(self, exchange: Exchange | RoundTrip, run: Callable[[], None]) -> None:
        self._links.communicate(exchange, run)

    def repeat_work(self, of: str, amount: int, units: int, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Compute once, and queue the planted time of all; a planted error alters one number."""
        part = "copies" if of in COPIES else of if of in PRODUCTS else "memory"
        self._device.probe_work(part, amount * units)
        result = compute()
        if self._device.is_wrong(part):
            result.reshape(-1)[len(result) // 2] += 1
        return result

    def samplers(
        self, local_rank: int, *, rank_pids: Sequence[int] = (), places: Sequence[DevicePlace] = (), smi: str = ""
    ) -> list[Sampler]:
        return [Sampler(VIRTUAL_SMI, self._device.samples), *super().samplers(local_rank)]

    def inventory(self, device: DeviceInfo, smi: str = "") -> Inventory:
        """Return the simulated devices of this host's ranks; there are no others."""
        memory_gib = (device.capacity_gib or 0.0,) * self._host_devices
        return Inventory(self._host_devices, (device.name,), memory_gib, device.driver)

    def health(self, device: DeviceInfo, smi: str = "") -> dict[str, Any] | None:
        return {"source": VIRTUAL_SMI.name, **self._device.health()}

    def allocator_peak_gib(self) -> tuple[float | None, float | None]:
        return self._device.allocator_gib()


def _done(gradients: torch.Tensor) -> torch.futures.Future:
    """Return gradients as a communication hook of DDP does, unchanged."""
    import torch

    done: torch.futures.Future = torch.futures.Future()
    done.set_result(gradients)
    return done


def _first_for_ever(batches: Iterable[T]) -> Iterator[T]:
    """Yield the first batch as often as there are batches."""
    first = None
    for batch in batches:
        first = batch if first is None else first
        yield first


BACKEND = VirtualBackend
