"""The interface between the trainer and an accelerator.

A backend is a module beside this one, named as the backend, that ends with `BACKEND = <its subclass of Backend>`. The
package finds it by that; `pytest tests/trainer/devices` holds it against the contract.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ClassVar, ContextManager, Iterable, Mapping, Sequence, TypeVar

from trainer.clocks import Clock
from trainer.devices.timers import StepTimer, WindowTimer
from trainer.errors import DeviceError
from trainer.telemetry.base import DevicePlace, Sampler, Smi
from trainer.telemetry.host import host_sampler

if TYPE_CHECKING:
    import torch

    from trainer.links.exchange import Exchange, RoundTrip
    from trainer.numerics.cases import Case
    from trainer.numerics.operators import Tensors

T = TypeVar("T")

_DEVICE_NAME = re.compile(r"[0-9]+|[A-Z]+-[0-9A-Za-z/-]+")  # an index; a UUID as GPU-5c89f4ac-..., MIG-GPU-.../1/0


@dataclass(frozen=True)
class DeviceInfo:
    """A rank's device: its name, its index in the host, and its memory in GiB (None if it has none of its own).

    `serial` identifies the device, also in another slot (a UUID, a serial number); `pci` is the address of its slot, as
    in 0000:1b:00.0; `uuid` is by what the management tool lists it. Each is None if neither framework nor tool has it.
    Not `is_numbered`: `index` is only the local rank, as the device was chosen by its UUID.
    """

    name: str
    index: int
    capacity_gib: float | None
    driver: str | None = None
    serial: str | None = None
    pci: str | None = None
    uuid: str | None = None
    is_numbered: bool = True

    @property
    def place(self) -> DevicePlace:
        """By what a management tool's record of it is found."""
        return DevicePlace(self.index, self.pci, self.uuid, self.is_numbered)


@dataclass(frozen=True)
class Inventory:
    """The devices of a host: how many (None if unknown), their names, memory in GiB, and the driver.

    `serials` and `pci` (addresses as in 0000:1b:00.0) are in the order of the tool's list, () unless it has them for
    all. `absent` has the reason for each item that is unknown.
    """

    count: int | None = None
    names: tuple[str, ...] = ()
    memory_gib: tuple[float, ...] = ()
    driver: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    serials: tuple[str, ...] = ()
    pci: tuple[str, ...] = ()


class CopyStream:
    """A queue for copies beside the computing. This one runs them in the calling thread, as a CPU does."""

    def run(self, work: Callable[[], T]) -> tuple[T, Any]:
        """Do `work`, or queue what it queues; return its result and an event that marks it done."""
        return work(), None

    def join(self, event: Any, used: Iterable[torch.Tensor]) -> None:
        """Order all further work of this thread, which is going to use these tensors, after `event`."""


class Backend:
    """One kind of accelerator. Class attributes are readable without importing torch; `open` binds a rank to a device.

    >>> from trainer.devices import load_backend
    >>> load_backend("cpu").precisions
    ('fp32',)
    """

    name = ""
    #: Python modules without which nothing runs, and what to do when one is missing.
    requires: ClassVar[Mapping[str, str]] = {}
    #: Environment that the framework reads when it is imported; what the user set already stays.
    environment: ClassVar[Mapping[str, str]] = {}
    #: The variable that chooses devices, e.g. CUDA_VISIBLE_DEVICES.
    visible_devices: str | None = None
    #: Further variables that choose them, of which some version of the framework reads one; all have to agree.
    also_visible: Sequence[str] = ()
    #: The interface through which the framework shows its devices, where a vendor's frameworks differ in it.
    device_api: str | None = None
    #: What is not known of `synchronise`, for the message of a clock test that it fails.
    synchronise_note = ""
    precisions: Sequence[str] = ("fp32",)
    simulated = False
    pin_memory = False
    #: Whether `copy_stream` gives one.
    copies_beside = False
    #: Whether DDP runs without static_graph and gradient views, because they are untested with the framework.
    plain_ddp = False
    #: By what the probes of copies, memory and peaks divide the sizes that fill an accelerator.
    probe_cut = 1
    #: Additional decoding time of an image, planted by a simulated device's scenario.
    decode_delay_s = 0.0

    device: torch.device
    #: The clock of all times of the rank but those of its supervision.
    clock: Clock = Clock()

    def configure(self, scenario: Path | None, *, rank: int, world_size: int) -> None:
        """Read the scenario of a simulated device. Raises DeviceError for a scenario and a real device."""
        if scenario is not None:
            raise DeviceError(f"{scenario}: a scenario is for simulated devices, and the {self.name} backend is real")

    def planted(self) -> dict[str, Any] | None:
        """Return the scenario of a simulated device as JSON can hold it; None for a real device."""
        return None

    def host_name(self) -> str:
        """Return this host's name."""
        return socket.gethostname()

    def set_environment(self) -> None:
        """Set what the framework reads at import. Raises DeviceError if the variables that choose devices differ."""
        for key, value in self.environment.items():
            os.environ.setdefault(key, value)
        self.choose_devices(self.named_devices())

    @property
    def visible_variables(self) -> tuple[str, ...]:
        """All variables that choose devices."""
        return tuple(filter(None, (self.visible_devices, *self.also_visible)))

    def named_devices(self) -> list[str]:
        """Return the devices that the variables name; [] if none is set.

        Raises DeviceError if two of them differ, or one names a device twice or other than by index or UUID.
        """
        named = {}
        for variable in self.visible_variables:
            text = os.environ.get(variable, "")
            names = [name.strip() for name in text.split(",") if name.strip()]
            if len(set(names)) < len(names) or not all(map(_DEVICE_NAME.fullmatch, names)):
                raise DeviceError(f"{variable} is {text!r}, expected indexes or UUIDs of devices, as in 0,1, each once")
            if names:
                named[variable] = names
        if len({tuple(names) for names in named.values()}) > 1:
            found = " and ".join(f"{variable}={','.join(names)}" for variable, names in named.items())
            raise DeviceError(f"found {found}, expected the same devices in the same order; set one of them only")
        return next(iter(named.values()), [])

    def choose_devices(self, names: Sequence[str]) -> None:
        """Set all variables that choose devices; does nothing without names."""
        if names:
            os.environ.update(dict.fromkeys(self.visible_variables, ",".join(names)))

    def import_framework(self) -> Backend:
        """Import the vendor's framework and return the backend for it: this one, unless the vendor has several.

        Raises DeviceError when it is missing or is not the vendor's.
        """
        return self

    def open(self, local_rank: int, local_world_size: int) -> DeviceInfo:
        """Bind this process to its device and return what was found. Raises DeviceError."""
        raise NotImplementedError

    def collectives(self) -> str:
        """The name of the torch.distributed backend that exchanges gradients on this device."""
        return "gloo"

    def attend(self, model: torch.nn.Module) -> None:
        """Called with the model before training, already on the device; for simulated devices, which hook into it."""

    def attend_training(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Called before training with the model as it is trained, by DDP or not; for simulated devices, as `attend`."""

    def seed(self, seed: int) -> None:
        """Seed every generator that this device draws from."""
        import torch

        torch.manual_seed(seed)

    def random_states(self) -> dict[str, torch.Tensor]:
        """Return the states of the generators that `seed` seeds, uint8 on the host by name, as far as readable."""
        import torch

        return {"host": torch.get_rng_state()}

    def set_random_states(self, states: Mapping[str, torch.Tensor], anew: int) -> None:
        """Restore the generators from `states`; seed those whose state is not readable with `anew`."""
        import torch

        torch.set_rng_state(states["host"])

    def synchronise(self) -> None:
        """Wait until the device has finished all that was queued."""

    def step_timer(self) -> StepTimer:
        """Return a timer for compute regions, by device events where the backend has them."""
        return WindowTimer(self.synchronise, self.clock.now_ns)

    def arriving(self, batches: Any, *, batch_size: int, workers: int, training: bool = True) -> Any:
        """Return a loader's batches as they arrive; on a simulated clock, when the planted decoding is done."""
        return batches

    def copied(self, images: int) -> None:
        """Called after the copy of a batch for the next step; for simulated devices, where it takes time."""

    def copy_stream(self) -> CopyStream | None:
        """Return a new stream for copies; None if copies are queued with the computing."""
        return None

    def queue_work(self, side: int, units: int) -> Callable[[], float]:
        """Queue `units` products of square fp32 matrices of `side`, each on the result of the one before.

        Return a function that reads one number of the last result, and so returns when all work is done, whatever
        `synchronise` does. The clock probe relies on it.
        """
        import torch

        matrix = torch.full((side, side), 1.0 / side, device=self.device)
        result = matrix
        for _ in range(units):
            result = result @ matrix
        return lambda: float(result[0, 0].cpu())

    def compute(self, case: Case, inputs: Tensors, compute: Callable[[Tensors], torch.Tensor]) -> torch.Tensor:
        """Return, on the host, what `compute` gives on the device for a case of the operators probe."""
        return compute({name: one.to(self.device) for name, one in inputs.items()}).cpu()

    def step_arithmetic(self, model: torch.nn.Module) -> ContextManager[Any]:
        """Return the context of the one-step probe's forward pass; for simulated devices, which compute wrong in it."""
        return contextlib.nullcontext()

    def communicate(self, exchange: Exchange | RoundTrip, run: Callable[[], None]) -> None:
        """Do what `run` does for an exchange of the links probe: call torch.distributed."""
        run()

    def repeat_work(self, of: str, amount: int, units: int, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Queue `compute` `units` times and return its last result.

        Each is a work of `amount` FLOPs or bytes of a probe, of a kind of evidence/events/peaks.py; a simulated device
        plants its time.
        """
        for _ in range(units):
            result = compute()
        return result

    def release_memory(self) -> None:
        """Empty the allocator's cache and reset its peaks, so that probes do not count in the run's memory."""

    def numbers(self, scalars: Sequence[torch.Tensor]) -> list[float]:
        """Read scalars back from the device, all at once: each reading costs a round trip to it."""
        import torch

        read: list[float] = torch.stack([scalar.float() for scalar in scalars]).cpu().tolist()
        return read

    def autocast(self, precision: str) -> ContextManager[None]:
        """Return the context in which the forward pass runs at `precision`."""
        if precision == "fp32":
            return contextlib.nullcontext()
        raise DeviceError(f"the {self.name} backend has no precision {precision}; it has {self._precision_list()}")

    def gradient_scaler(self, precision: str) -> torch.amp.GradScaler | None:
        """Return a GradScaler where the precision needs one, else None."""
        return None

    def set_tf32(self, allowed: bool) -> None:
        """Allow or forbid TF32 in fp32 matrix products and convolutions, where the device has it."""
        if allowed:
            raise DeviceError(f"the recipe asks for TF32, which the {self.name} backend does not have")

    def set_cudnn(self, *, deterministic: bool, benchmark: bool) -> None:
        """Set how cuDNN chooses its algorithms, where the device has it. Raises DeviceError where it has not."""
        if deterministic or benchmark:
            raise DeviceError(f"the recipe sets up cuDNN, which the {self.name} backend does not have")

    def samplers(
        self, local_rank: int, *, rank_pids: Sequence[int] = (), places: Sequence[DevicePlace] = (), smi: str = ""
    ) -> list[Sampler]:
        """Return what this rank samples: memory in use of its device, or of all, and on local rank 0 the host.

        `rank_pids` are the processes and `places` the devices of this host's ranks, by local rank; `smi` is the
        management tool that the device's table names, "" if there is none. A sampler's `read` may raise.
        """
        return [host_sampler()] if local_rank == 0 else []

    def inventory(self, device: DeviceInfo, smi: str = "") -> Inventory:
        """Return which devices the host has, used or not, as far as the management tool lists them. May raise."""
        return Inventory(driver=device.driver)

    def listed_devices(self, smi: str = "") -> list[int] | None:
        """Return the indexes that the management tool lists, without the framework; None if that is not known.

        Raises DeviceError, with what to do, if a run needs the tool and it does not list any.
        """
        return None

    def health(self, device: DeviceInfo, smi: str = "") -> dict[str, Any] | None:
        """Return what the management tool reads of the device's health, and the tool's name as `source`. May raise.

        Fields are those of the event `health`; {} if no tool reads any. None: the device is the host, and has no event.
        """
        return {}

    def framework_versions(self) -> dict[str, str]:
        """Return what the vendor's framework says of its own version, by module; {} where it is torch itself.

        May raise.
        """
        return {}

    def allocator_peak_gib(self) -> tuple[float | None, float | None]:
        """Return the allocator's peak as (allocated, reserved) GiB; None if the device has no such allocator."""
        return None, None

    def check_precision(self, precision: str) -> None:
        """Raise DeviceError unless the device has the precision."""
        if precision not in self.precisions:
            raise DeviceError(f"the {self.name} backend has no precision {precision}; it has {self._precision_list()}")

    def _precision_list(self) -> str:
        return ", ".join(self.precisions)


def visible_index(variable: str | None, local_rank: int) -> int:
    """Return the index in the host of the device of `local_rank`, as a variable like CUDA_VISIBLE_DEVICES maps it.

    Without the variable, or if it names devices by something else than a number (a UUID), it is the local rank.
    """
    name = visible_name(variable, local_rank)
    return int(name) if name.isdigit() else local_rank


def visible_name(variable: str | None, local_rank: int) -> str:
    """Return what a variable like CUDA_VISIBLE_DEVICES calls the device of `local_rank`; "" without the variable."""
    listed = os.environ.get(variable, "") if variable else ""
    names = [name.strip() for name in listed.split(",") if name.strip()]
    return names[local_rank] if local_rank < len(names) else ""


def inventory_by(smi: Smi) -> Inventory:
    """Return what a management tool lists. Raises DeviceError if it lists nothing."""
    records = [record for record in smi.read() if "error" not in record and "instance_of" not in record]

    def of_all(name: str) -> tuple[str, ...]:
        found = tuple(record[name] for record in records if record.get(name))
        return found if len(found) == len(records) else ()

    try:
        driver, absent = smi.driver(), {}
    except DeviceError as error:
        driver, absent = None, {"driver": str(error)}
    return Inventory(
        count=len(records),
        names=tuple(sorted({record["name"] for record in records if "name" in record})),
        memory_gib=tuple(record["memory_total_gib"] for record in records if "memory_total_gib" in record),
        driver=driver,
        absent=absent,
        serials=of_all("serial"),
        pci=of_all("pci"),
    )
