"""This machine's CPU as a device: each rank takes an equal share of the cores."""

from __future__ import annotations

import contextlib
import os
from typing import Any, ClassVar, Mapping, Sequence

from trainer.devices.base import Backend, DeviceInfo
from trainer.devices.timers import StepTimer, SynchronisedTimer
from trainer.telemetry.base import GIB, DevicePlace, Sampler, Samples, declare, device_readings

PSUTIL = declare(
    "psutil",
    device_readings("memory_used_gib", "memory_total_gib"),
    "local rank 0, on the CPU: resident memory of each rank with its workers",
    "tried",
)


class CpuBackend(Backend):
    """Ranks are processes, a device is a rank's share of the machine, and work is finished when a call returns."""

    name = "cpu"
    # Spinning OpenMP threads starve the loader's workers and other processes: with one busy process beside it, training
    # on two cores was three times as fast with sleeping threads; on an idle machine it was a sixth slower.
    environment: ClassVar[Mapping[str, str]] = {"OMP_WAIT_POLICY": "PASSIVE"}
    # bf16 would be emulated on most CPUs, and torchvision 0.13 has no kernels for it there.
    precisions = ("fp32",)
    probe_cut = 32

    def open(self, local_rank: int, local_world_size: int) -> DeviceInfo:
        """Bind this rank to its share of the cores; the device is numbered by the local rank."""
        import platform

        import psutil
        import torch

        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_world_size))
        self.device = torch.device("cpu")
        memory_gib = psutil.virtual_memory().total / GIB
        return DeviceInfo(platform.processor() or platform.machine(), local_rank, memory_gib)

    def step_timer(self) -> StepTimer:
        """Read the clock at each step, which is exact: work is done when a call returns."""
        return SynchronisedTimer(self.synchronise, self.clock.now_ns)

    def samplers(
        self, local_rank: int, *, rank_pids: Sequence[int] = (), places: Sequence[DevicePlace] = (), smi: str = ""
    ) -> list[Sampler]:
        """Local rank 0 reads the resident memory of every rank of the host together with its loader workers."""
        if local_rank != 0:
            return []
        import psutil

        total_gib = psutil.virtual_memory().total / GIB

        def read() -> Samples:
            return [
                {
                    "source": PSUTIL.name,
                    "card": index,
                    "memory_used_gib": _resident_gib(pid),
                    "memory_total_gib": total_gib,
                }
                for index, pid in enumerate(rank_pids)
            ]

        return [Sampler(PSUTIL, read), *super().samplers(local_rank)]

    def health(self, device: DeviceInfo, smi: str = "") -> dict[str, Any] | None:
        """Return None: the processor's errors are the host's."""
        return None


def _resident_gib(pid: int) -> float:
    """Return the resident memory in GiB of a process and its descendants, each shared page counted once (PSS)."""
    import psutil

    processes: list[psutil.Process] = [psutil.Process(pid)]
    processes += processes[0].children(recursive=True)
    resident = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            # Workers are forked: summing RSS would count the pages they share with the rank once per worker.
            resident += process.memory_full_info().pss
    return resident / GIB


BACKEND = CpuBackend
