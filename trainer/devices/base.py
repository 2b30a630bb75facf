"""What the trainer asks of an accelerator; a new one is a module beside this with a subclass named BACKEND."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    ContextManager,
    Mapping,
    Sequence,
)

from trainer.clocks import Clock
from trainer.devices.streams import CopyStream
from trainer.devices.timers import StepTimer, WindowTimer
from trainer.errors import DeviceError
from trainer.telemetry import CardPlace, Sampler, Samples, host_sampler

if TYPE_CHECKING:
    import torch

GIB = float(2**30)


@dataclass(frozen=True)
class Card:
    """What a rank found: the card's name, its index in the host, and its memory in GiB (None where it has none).

    `serial` is whatever tells this card from all others of its kind, also after it was moved to another slot; None
    where nothing tells it. `pci` is the address of its slot, as in 0000:1b:00.0; None where the framework has none.
    """

    name: str
    index: int
    capacity_gib: float | None
    driver: str | None = None
    serial: str | None = None
    pci: str | None = None


@dataclass(frozen=True)
class Inventory:
    """The cards of a host: how many (None where it is not told), their names, memory in GiB, and the driver.

    `absent` says of what is not told, why.
    """

    count: int | None = None
    names: tuple[str, ...] = ()
    memory_gib: tuple[float, ...] = ()
    driver: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


class Backend:
    """One kind of accelerator. Class attributes can be read without importing torch; `open` binds a rank to a card."""

    name = ""
    #: Python modules without which nothing runs, and what to do when one is missing.
    requires: ClassVar[Mapping[str, str]] = {}
    #: Environment that the framework reads when it is imported; what the user set already stays.
    environment: ClassVar[Mapping[str, str]] = {}
    #: The variable that chooses cards, e.g. CUDA_VISIBLE_DEVICES.
    visible_cards: str | None = None
    precisions: Sequence[str] = ("fp32",)
    simulated = False
    pin_memory = False
    #: Whether `copy_stream` gives one.
    copies_beside = False
    #: Whether gradients are exchanged in the plainest way: true where nobody could try another with the framework.
    plain_exchange = False
    #: How much longer than it does an image takes to be decoded; a simulated device's scenario may say so.
    decode_delay_s = 0.0
    #: What telemetry calls the source of `sampler`, should that fail.
    sampler_source = "sampler"

    device: torch.device
    #: What all times of the rank are read from, those of the supervision apart.
    clock: Clock = Clock()

    def configure(self, scenario: Path | None, *, rank: int, world_size: int) -> None:
        """Take what a simulated device is to do. Raises DeviceError: a real one cannot be told."""
        if scenario is not None:
            raise DeviceError(f"{scenario}: a scenario is for simulated devices, and the {self.name} backend is real")

    def planted(self) -> dict[str, Any] | None:
        """Return what a simulated device was told to do; None for a real one."""
        return None

    def host_name(self) -> str:
        """Return this host's name."""
        return socket.gethostname()

    def set_environment(self) -> None:
        """Set what the framework reads at import."""
        for key, value in self.environment.items():
            os.environ.setdefault(key, value)

    def import_framework(self) -> None:
        """Import the vendor's framework. Raises DeviceError when it is missing or is not the vendor's."""

    def open(self, local_rank: int, local_world_size: int) -> Card:
        """Bind this process to its card and return what was found. Raises DeviceError."""
        raise NotImplementedError

    def collectives(self) -> str:
        """The name of the torch.distributed backend that exchanges gradients on this device."""
        return "gloo"

    def attend(self, model: torch.nn.Module) -> None:
        """Take note of the model that is going to be trained, which is on the device; only a simulated one needs to."""

    def seed(self, seed: int) -> None:
        """Seed every generator that this device draws from."""
        import torch

        torch.manual_seed(seed)

    def random_states(self) -> dict[str, torch.Tensor]:
        """Return the state of each generator that `seed` seeds, uint8 on the host by name, as far as it can be told."""
        import torch

        return {"host": torch.get_rng_state()}

    def set_random_states(self, states: Mapping[str, torch.Tensor], anew: int) -> None:
        """Put the generators back to `states`; those whose state cannot be told begin `anew` from this seed."""
        import torch

        torch.set_rng_state(states["host"])

    def synchronise(self) -> None:
        """Wait until the device has finished all that was queued."""

    def step_timer(self) -> StepTimer:
        """Return a timer for compute regions, by device events where the backend has them."""
        return WindowTimer(self.synchronise, self.clock.now_ns)

    def arriving(self, batches: Any, *, batch_size: int, workers: int) -> Any:
        """Return a loader's batches as they arrive; on a simulated clock, when the planted decoding is done."""
        return batches

    def copied(self, images: int) -> None:
        """Take note that a batch of so many images was copied for the next step; only a simulated device needs to."""

    def copy_stream(self) -> CopyStream | None:
        """Return a new stream for copies beside the computing; None where copies are queued with it."""
        return None

    def queue_work(self, side: int, units: int) -> Callable[[], float]:
        """Queue `units` products of square fp32 matrices of `side`, each on the result of the one before.

        Return a function that reads one number of the last result: it returns when all of the work is done, whatever
        `synchronise` does. The clock probe relies on it.
        """
        import torch

        matrix = torch.full((side, side), 1.0 / side, device=self.device)
        result = matrix
        for _ in range(units):
            result = result @ matrix
        return lambda: float(result[0, 0].cpu())

    def release_memory(self) -> None:
        """Give back what the device's allocator keeps for later, so that what was tried out is in no figure."""

    def numbers(self, scalars: Sequence[torch.Tensor]) -> list[float]:
        """Read scalars back from the device, all at once: each reading costs a round trip to it."""
        import torch

        read: list[float] = torch.stack([scalar.float() for scalar in scalars]).cpu().tolist()
        return read

    def autocast(self, precision: str) -> ContextManager[Any]:
        """Return the context in which the forward pass runs at `precision`."""
        if precision == "fp32":
            return contextlib.nullcontext()
        raise DeviceError(f"the {self.name} backend has no precision {precision}; it has {self._precision_list()}")

    def gradient_scaler(self, precision: str) -> Any:
        """Return a GradScaler where the precision needs one, else None."""
        return None

    def set_tf32(self, allowed: bool) -> None:
        """Allow or forbid TF32 in fp32 matrix products and convolutions, where the device has it."""
        if allowed:
            raise DeviceError(f"the recipe asks for TF32, which the {self.name} backend does not have")

    def sampler(self, local_rank: int, rank_pids: Sequence[int]) -> Callable[[], Samples] | None:
        """Return a function that reads memory in use (GiB, by card), or None where another rank does it.

        `rank_pids` are the processes of this host's ranks, by local rank. The function may raise; the watch reports it.
        """
        raise NotImplementedError

    def samplers(self, local_rank: int, places: Sequence[CardPlace], smi: str = "") -> list[Sampler]:
        """Return what else watches this host, beside the memory that `sampler` reads: on local rank 0, the host itself.

        `places` are the cards of this host's ranks, by local rank; `smi` the management tool that the device's table
        names, "" where the backend has its own or there is none.
        """
        return [host_sampler()] if local_rank == 0 else []

    def inventory(self, card: Card, smi: str = "") -> Inventory:
        """Return which cards the host has, whoever uses them, as far as the device's tool tells. May raise."""
        return Inventory(driver=card.driver)

    def allocator_peak_gib(self) -> tuple[float | None, float | None]:
        """Return the allocator's peak as (allocated, reserved) GiB; None where the device has no such allocator."""
        return None, None

    def check_precision(self, precision: str) -> None:
        """Raise DeviceError unless the device has the precision."""
        if precision not in self.precisions:
            raise DeviceError(f"the {self.name} backend has no precision {precision}; it has {self._precision_list()}")

    def _precision_list(self) -> str:
        return ", ".join(self.precisions)


def visible_index(variable: str | None, local_rank: int) -> int:
    """Return the index in the host of the card that `local_rank` uses, as the visible-cards variable maps it.

    Without the variable, or where it names cards by something other than a number (a UUID), it is the local rank.
    """
    listed = os.environ.get(variable, "") if variable else ""
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if local_rank < len(names) and names[local_rank].isdigit():
        return int(names[local_rank])
    return local_rank
