"""NVIDIA's torch.cuda, and the vendors that provide the same interface (MetaX, Iluvatar)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Mapping, Sequence

from trainer.devices.base import GIB, Backend, Card, Inventory, Samples, visible_index
from trainer.devices.streams import CudaCopyStream
from trainer.devices.timers import EventTimer, StepTimer
from trainer.errors import DeviceError
from trainer.telemetry import CardPlace, Sampler, card_sampler, load_smi

if TYPE_CHECKING:
    import torch


class CudaBackend(Backend):
    """One card per rank, gradients over NCCL (or what the vendor provides under that name)."""

    name = "cuda"
    visible_cards = "CUDA_VISIBLE_DEVICES"
    precisions = ("fp32", "amp", "bf16")
    pin_memory = True
    copies_beside = True
    sampler_source = "driver"

    def open(self, local_rank: int, local_world_size: int) -> Card:
        """Bind this rank to card `local_rank` of the visible ones."""
        import torch

        if not torch.cuda.is_available():
            raise DeviceError(
                f"torch {torch.__version__} sees no CUDA device; install the vendor's driver and its build of torch, "
                f"and check {self.visible_cards}"
            )
        found = torch.cuda.device_count()
        if found < local_world_size:
            raise DeviceError(
                f"{local_world_size} cards are needed on this host and {found} are visible; check {self.visible_cards}"
            )
        torch.cuda.set_device(local_rank)
        self.device = torch.device("cuda", local_rank)
        self._index = visible_index(self.visible_cards, local_rank)
        facts = torch.cuda.get_device_properties(local_rank)
        uuid = getattr(facts, "uuid", None)  # since torch 2.4
        serial = None if uuid is None else str(uuid)
        return Card(facts.name, self._index, facts.total_memory / GIB, serial=serial, pci=_pci_address(facts))

    def collectives(self) -> str:
        """NCCL; MetaX and Iluvatar answer to the same name."""
        return "nccl"

    def seed(self, seed: int) -> None:
        """Seed the host's and every card's generator."""
        import torch

        torch.manual_seed(seed)
        torch.cuda.manual_seed_all(seed)

    def random_states(self) -> dict[str, torch.Tensor]:
        """Return the host generator's state and this rank's card's."""
        import torch

        return {**super().random_states(), "card": torch.cuda.get_rng_state(self.device)}

    def set_random_states(self, states: Mapping[str, torch.Tensor], anew: int) -> None:
        """Put both generators back."""
        import torch

        super().set_random_states(states, anew)
        torch.cuda.set_rng_state(states["card"], self.device)

    def synchronise(self) -> None:
        """Wait for this rank's card."""
        import torch

        torch.cuda.synchronize(self.device)

    def step_timer(self) -> StepTimer:
        """Time by device events."""
        import torch

        return EventTimer(self.synchronise, lambda: torch.cuda.Event(enable_timing=True), self.clock.now_ns)

    def copy_stream(self) -> CudaCopyStream:
        """Return a stream of this rank's card: it copies from pinned memory while the current stream computes."""
        import torch

        return CudaCopyStream(self.device, torch.cuda)

    def autocast(self, precision: str) -> ContextManager[Any]:
        """Return the autocast context: fp16 for amp."""
        import torch

        if precision in ("amp", "bf16"):
            return torch.autocast("cuda", dtype=torch.float16 if precision == "amp" else torch.bfloat16)
        return contextlib.nullcontext() if precision == "fp32" else super().autocast(precision)

    def gradient_scaler(self, precision: str) -> Any:
        """Amp scales the loss so that small fp16 gradients survive."""
        import torch

        return torch.cuda.amp.GradScaler() if precision == "amp" else None

    def set_tf32(self, allowed: bool) -> None:
        """Set both switches; torch's defaults for them differ, and differ between versions."""
        import torch

        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed

    def sampler(self, local_rank: int, rank_pids: Sequence[int]) -> Callable[[], Samples] | None:
        """Every rank asks the driver about its own card: the same figure as the SMI's, all processes included."""
        import torch

        device, index = self.device, self._index

        def read() -> Samples:
            free, total = torch.cuda.mem_get_info(device)
            return [
                {
                    "source": "driver",
                    "card": index,
                    "memory_used_gib": (total - free) / GIB,
                    "memory_total_gib": total / GIB,
                }
            ]

        return read

    def samplers(self, local_rank: int, places: Sequence[CardPlace], smi: str = "") -> list[Sampler]:
        """Local rank 0 asks the vendor's tool for all cards that ranks of this host use."""
        watching = super().samplers(local_rank, places, smi)
        return [*watching, card_sampler(load_smi(smi), places)] if smi and local_rank == 0 else watching

    def inventory(self, card: Card, smi: str = "") -> Inventory:
        """Return what the vendor's tool lists; torch knows the visible cards only."""
        if not smi:
            why = "the device's table names no management tool, and torch sees the visible cards only"
            return Inventory(driver=card.driver, absent={"card_count": why, "driver": why})
        tool = load_smi(smi)
        records = [record for record in tool.read() if "error" not in record]
        names = {record["name"] for record in records if "name" in record}
        memory_gib = tuple(record["memory_total_gib"] for record in records if "memory_total_gib" in record)
        try:
            driver, absent = tool.driver(), {}
        except DeviceError as error:
            driver, absent = None, {"driver": str(error)}
        return Inventory(len(records), tuple(sorted(names)), memory_gib, driver, absent)

    def release_memory(self) -> None:
        """Empty the caching allocator and begin its peaks anew."""
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)

    def allocator_peak_gib(self) -> tuple[float | None, float | None]:
        """Return the caching allocator's peaks."""
        import torch

        return (
            torch.cuda.max_memory_allocated(self.device) / GIB,
            torch.cuda.max_memory_reserved(self.device) / GIB,
        )


def _pci_address(facts: Any) -> str | None:
    """The slot's address as the kernel writes it; None where this version of torch, or a vendor's build, has none."""
    parts: list[Any] = [getattr(facts, f"pci_{name}_id", None) for name in ("domain", "bus", "device")]
    if not all(isinstance(part, int) and part >= 0 for part in parts):
        return None
    domain, bus, device = parts
    return f"{domain:04x}:{bus:02x}:{device:02x}.0"


BACKEND = CudaBackend
