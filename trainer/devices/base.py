"""What the trainer asks of an accelerator; a new one is a module beside this with a subclass named BACKEND."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    ContextManager,
    Dict,
    List,
    Mapping,
    Sequence,
)

from trainer.errors import DeviceError

if TYPE_CHECKING:
    import torch

GIB = float(2**30)

Samples = List[Dict[str, Any]]


@dataclass(frozen=True)
class Card:
    """What a rank found: the card's name, its index in the host, and its memory in GiB (None where it has none)."""

    name: str
    index: int
    capacity_gib: float | None
    driver: str | None = None


class StepTimer:
    """Times the compute region of each step, twice: synchronised with the device, and with the host clock alone.

    This one synchronises at the end of every region, which is right on any device. Synchronising only now and then and
    taking the data wait off would count the device's work during that wait as nothing, and so inflate the rate.
    """

    method = "synchronised"

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self._synchronise = synchronise
        self._begun_ns = 0
        self._compute_ns: list[int] = []
        self._host_ns: list[int] = []

    def start(self) -> None:
        """Begin a region; what was copied to the device before has to be there already."""
        self._synchronise()
        self._begun_ns = time.perf_counter_ns()

    def stop(self) -> None:
        """End the region."""
        self._host_ns.append(time.perf_counter_ns() - self._begun_ns)
        self._synchronise()
        self._compute_ns.append(time.perf_counter_ns() - self._begun_ns)

    def drain(self) -> tuple[list[int], list[int]]:
        """Return (synchronised, host) nanoseconds of the regions since the last call, and forget them."""
        result = self._compute_ns, self._host_ns
        self._compute_ns, self._host_ns = [], []
        return result


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

    device: torch.device

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

    def seed(self, seed: int) -> None:
        """Seed every generator that this device draws from."""
        import torch

        torch.manual_seed(seed)

    def synchronise(self) -> None:
        """Wait until the device has finished all that was queued."""

    def step_timer(self) -> StepTimer:
        """Return a timer for compute regions, by device events where the backend has them."""
        return StepTimer(self.synchronise)

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
