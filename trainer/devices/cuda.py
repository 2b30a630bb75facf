"""NVIDIA's torch.cuda, and the vendors that provide the same interface (MetaX, Iluvatar)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Iterable, Mapping, Sequence

from trainer.devices.base import (
    Backend,
    CopyStream,
    DeviceInfo,
    Inventory,
    T,
    inventory_by,
    visible_index,
    visible_name,
)
from trainer.devices.timers import EventTimer, StepTimer
from trainer.errors import DeviceError
from trainer.telemetry import load_smi
from trainer.telemetry.base import (
    GIB,
    AbsentError,
    DevicePlace,
    Sampler,
    Samples,
    declare,
    device_readings,
    device_sampler,
)
from trainer.telemetry.health import health_of

if TYPE_CHECKING:
    import torch

DRIVER = declare(
    "driver", device_readings("memory_used_gib", "memory_total_gib"), "every rank, `torch.cuda.mem_get_info`", "tried"
)


class CudaCopyStream(CopyStream):
    """A CUDA stream for copies, ordered with the current stream of each thread. `cuda` is torch.cuda."""

    def __init__(self, device: torch.device, cuda: Any) -> None:
        self._device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device)

    def run(self, work: Callable[[], T]) -> tuple[T, Any]:
        # Each thread has its own current device, at first device 0, where this would create a context.
        self._cuda.set_device(self._device)
        with self._cuda.stream(self._stream):
            result = work()
            return result, self._stream.record_event()

    def join(self, event: Any, used: Iterable[torch.Tensor]) -> None:
        """Let all that this thread queues from now on come after `event`; the host does not wait."""
        computing = self._cuda.current_stream(self._device)
        computing.wait_event(event)
        for tensor in used:
            # The allocator reuses memory in order of the stream that allocated it: without this, the next copy could
            # overwrite a batch that is still in use.
            tensor.record_stream(computing)


class CudaBackend(Backend):
    """One device per rank, gradients over NCCL (or what the vendor provides under that name)."""

    name = "cuda"
    visible_devices = "CUDA_VISIBLE_DEVICES"
    precisions = ("fp32", "tf32", "amp", "bf16")
    pin_memory = True
    copies_beside = True

    @property
    def _cuda(self) -> Any:
        import torch

        return torch.cuda

    def open(self, local_rank: int, local_world_size: int) -> DeviceInfo:
        """Bind this rank to device `local_rank` of the visible ones."""
        import torch

        if not torch.cuda.is_available():
            raise DeviceError(
                f"torch {torch.__version__} sees no CUDA device; install the vendor's driver and its build of torch, "
                f"and check {self.visible_devices}"
            )
        found = torch.cuda.device_count()
        if found < local_world_size:
            raise DeviceError(
                f"{local_world_size} devices are needed on this host and {found} are visible; check "
                f"{self.visible_devices}"
            )
        torch.cuda.set_device(local_rank)
        self.device = torch.device("cuda", local_rank)
        self._index = visible_index(self.visible_devices, local_rank)
        facts = torch.cuda.get_device_properties(local_rank)
        name = visible_name(self.visible_devices, local_rank)
        uuid = device_uuid(facts, name)
        return DeviceInfo(
            facts.name,
            self._index,
            facts.total_memory / GIB,
            serial=str(facts.uuid) if hasattr(facts, "uuid") else uuid,
            pci=_pci_address(facts),
            uuid=uuid,
            is_numbered=not name or name.isdigit(),
        )

    def collectives(self) -> str:
        """NCCL; MetaX and Iluvatar answer to the same name."""
        return "nccl"

    def seed(self, seed: int) -> None:
        super().seed(seed)
        self._cuda.manual_seed_all(seed)

    def random_states(self) -> dict[str, torch.Tensor]:
        return {**super().random_states(), "card": self._cuda.get_rng_state(self.device)}

    def set_random_states(self, states: Mapping[str, torch.Tensor], anew: int) -> None:
        super().set_random_states(states, anew)
        self._cuda.set_rng_state(states["card"], self.device)

    def synchronise(self) -> None:
        self._cuda.synchronize(self.device)

    def step_timer(self) -> StepTimer:
        return EventTimer(self.synchronise, lambda: self._cuda.Event(enable_timing=True), self.clock.now_ns)

    def copy_stream(self) -> CudaCopyStream:
        return CudaCopyStream(self.device, self._cuda)

    def autocast(self, precision: str) -> ContextManager[None]:
        """Return the autocast context: fp16 for amp."""
        import torch

        if precision in ("amp", "bf16"):
            return torch.autocast("cuda", dtype=torch.float16 if precision == "amp" else torch.bfloat16)
        return contextlib.nullcontext() if precision in ("fp32", "tf32") else super().autocast(precision)

    def gradient_scaler(self, precision: str) -> torch.amp.GradScaler | None:
        """Amp scales the loss so that small fp16 gradients survive."""
        import torch

        if precision != "amp":
            return None
        scaler = getattr(torch.amp, "GradScaler", None)  # since torch 2.3, where that of torch.cuda.amp is deprecated
        return torch.cuda.amp.GradScaler() if scaler is None else scaler("cuda")

    def set_tf32(self, allowed: bool) -> None:
        """Set both switches; torch's defaults differ between them and between versions."""
        import torch

        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed

    def set_cudnn(self, *, deterministic: bool, benchmark: bool) -> None:
        """Set both switches of torch.backends.cudnn, which MetaX and Iluvatar provide too."""
        import torch

        torch.backends.cudnn.deterministic = deterministic
        torch.backends.cudnn.benchmark = benchmark

    def samplers(
        self, local_rank: int, *, rank_pids: Sequence[int] = (), places: Sequence[DevicePlace] = (), smi: str = ""
    ) -> list[Sampler]:
        """Every rank asks the driver for its device's memory, as the SMI shows it: of all processes.

        Local rank 0 also asks the vendor's tool for all devices that ranks of this host use.
        """
        found = [Sampler(DRIVER, self._read_driver), *super().samplers(local_rank)]
        return [*found, device_sampler(load_smi(smi), places)] if smi and local_rank == 0 else found

    def _read_driver(self) -> Samples:
        free, total = self._cuda.mem_get_info(self.device)
        sample = {"memory_used_gib": (total - free) / GIB, "memory_total_gib": total / GIB}
        return [{"source": DRIVER.name, "card": self._index, **sample}]

    def inventory(self, device: DeviceInfo, smi: str = "") -> Inventory:
        """Return what the vendor's tool lists; torch knows the visible devices only."""
        if not smi:
            why = "the device's table names no management tool, and torch sees the visible devices only"
            return Inventory(driver=device.driver, absent={"card_count": why, "driver": why})
        return inventory_by(load_smi(smi))

    def listed_devices(self, smi: str = "") -> list[int] | None:
        """Return the indexes in the listing of the tool that the device's table names; None if it cannot be read.

        torch counts them too when a rank opens its device, so only a tool that is not there is an error.
        """
        if not smi:
            return None
        try:
            records = load_smi(smi).read()
        except AbsentError:
            raise
        except DeviceError:
            return None
        return [record["card"] for record in records if "card" in record and "error" not in record]

    def health(self, device: DeviceInfo, smi: str = "") -> dict[str, Any] | None:
        return health_of(load_smi(smi), device.place) if smi else {}

    def release_memory(self) -> None:
        self._cuda.empty_cache()
        self._cuda.reset_peak_memory_stats(self.device)

    def allocator_peak_gib(self) -> tuple[float | None, float | None]:
        return (self._cuda.max_memory_allocated(self.device) / GIB, self._cuda.max_memory_reserved(self.device) / GIB)


def device_uuid(facts: Any, name: str) -> str | None:
    """The device's UUID, as in GPU-5c89f4ac-...; None if neither torch nor CUDA_VISIBLE_DEVICES gives it.

    `facts` are its properties, with a UUID since torch 2.4, `name` is what the variable calls it, which may be
    shortened. Of a MIG instance the variable decides: what torch gives for one is untested.
    """
    named = name if name.startswith(("GPU-", "MIG-")) else ""
    found = getattr(facts, "uuid", None)
    if named.startswith("MIG-") or not found:
        return named or None
    return str(found) if str(found).startswith(("GPU-", "MIG-")) else f"GPU-{found}"


def _pci_address(facts: Any) -> str | None:
    """The slot's address in the kernel's form; None if this version or build of torch has none."""
    parts: list[Any] = [getattr(facts, f"pci_{name}_id", None) for name in ("domain", "bus", "device")]
    if not all(isinstance(part, int) and part >= 0 for part in parts):
        return None
    domain, bus, device = parts
    return f"{domain:04x}:{bus:02x}:{device:02x}.0"


BACKEND = CudaBackend
