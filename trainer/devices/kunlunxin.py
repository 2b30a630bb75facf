"""Kunlunxin XPU (R200, R300) through torch_xmlir, on the vendor's CPU build of torch 1.12.1."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Mapping, Sequence

from trainer.devices.base import Backend, DeviceInfo, Inventory, visible_index
from trainer.errors import DeviceError
from trainer.telemetry.base import DevicePlace, Sampler, run_tool
from trainer.telemetry.xpu_smi import TOOL, XPU_SMI, XpuSmi, parse_xpu_driver, parse_xpu_models, parse_xpu_smi

if TYPE_CHECKING:
    import torch


_REVISION = re.compile(r"(?<![A-Za-z0-9])(?=[0-9]*[a-f])[0-9a-f]{7,40}(?![A-Za-z0-9])")
_DOCTOR_S = 60.0


class KunlunxinBackend(Backend):
    """One XPU per rank. This is not Intel's torch.xpu, which shares the device's name: only torch_xmlir counts."""

    name = "kunlunxin"
    requires: ClassVar[Mapping[str, str]] = {
        "torch_xmlir": "it comes with Kunlunxin's container image (pytorch1.12.1-cpu-ubuntu18.04:v0.04, framework "
        "xmlir); run the suite inside that image, with the Python that has it"
    }
    environment: ClassVar[Mapping[str, str]] = {"XACC_ENABLE": "1", "XACC_ARGS": "-L O0", "BKCL_PCIE_RING": "1"}
    visible_devices = "XPU_VISIBLE_DEVICES"
    plain_ddp = True

    _xmlir: Any = None

    def import_framework(self) -> None:
        """Import torch_xmlir and require the parts that the trainer calls."""
        try:
            self._xmlir = importlib.import_module("torch_xmlir")
        except ImportError as error:
            raise DeviceError(f"torch_xmlir cannot be imported ({error}): {self.requires['torch_xmlir']}") from None
        for part in ("device", "xpu.manual_seed_all", "xpu.xpu_synchronize"):
            owner: Any = self._xmlir
            for name in part.split("."):
                owner = getattr(owner, name, None)
            if not callable(owner):
                raise DeviceError(
                    f"the torch_xmlir at {getattr(self._xmlir, '__file__', '?')} has no {part}; this trainer knows "
                    "the interface of framework xmlir+e70db8f6"
                )

    def open(self, local_rank: int, local_world_size: int) -> DeviceInfo:
        """Bind this rank to `xpu:<local rank>` of the visible devices, after asking xpu_smi what the host has."""
        records = parse_xpu_smi(run_tool(TOOL, "-m"))
        listed = [name for name in os.environ.get("XPU_VISIBLE_DEVICES", "").split(",") if name.strip()]
        found = len(listed) or len(records)
        if found < local_world_size:
            raise DeviceError(
                f"{local_world_size} devices are needed on this host and {found} are visible; check "
                f"{self.visible_devices}"
            )
        self._index = visible_index(self.visible_devices, local_rank)
        if self._index >= len(records):
            raise DeviceError(
                f"{self.visible_devices} names device {self._index} and xpu_smi lists {len(records)}, counted from 0"
            )
        self.device = self._xmlir.device(f"xpu:{local_rank}")
        # xpu_synchronize takes no argument: the current device, if the framework has one, has to be this one.
        choose = getattr(self._xmlir.xpu, "set_device", None)
        if callable(choose):
            choose(local_rank)
        driver = parse_xpu_driver(run_tool(TOOL))
        return DeviceInfo("Kunlunxin XPU", self._index, records[self._index]["memory_total_gib"], driver)

    def collectives(self) -> str:
        """`xccl` if the framework has registered it, else `nccl`, which it hooks."""
        import torch.distributed as dist

        # Newer versions of torch have an xccl backend of Intel's under the same name.
        intels = hasattr(dist, "is_xccl_available")
        return "xccl" if hasattr(dist.Backend, "XCCL") and not intels else "nccl"

    def seed(self, seed: int) -> None:
        """Seed the generators of host and devices."""
        super().seed(seed)
        self._xmlir.xpu.manual_seed_all(seed)

    def set_random_states(self, states: Mapping[str, torch.Tensor], anew: int) -> None:
        """Restore the host's generator and seed the device's with `anew`: its state cannot be read."""
        super().set_random_states(states, anew)
        self._xmlir.xpu.manual_seed_all(anew)

    def synchronise(self) -> None:
        """Wait for the device."""
        self._xmlir.xpu.xpu_synchronize()

    def samplers(
        self, local_rank: int, *, rank_pids: Sequence[int] = (), places: Sequence[DevicePlace] = (), smi: str = ""
    ) -> list[Sampler]:
        """Local rank 0 asks xpu_smi for all devices of the host at once."""
        return [Sampler(XPU_SMI, XpuSmi().read), *super().samplers(local_rank)] if local_rank == 0 else []

    def inventory(self, device: DeviceInfo, smi: str = "") -> Inventory:
        """Return what xpu_smi lists; models only if it prints their names."""
        records, listing = parse_xpu_smi(run_tool(TOOL, "-m")), run_tool(TOOL)
        memory_gib = tuple(record["memory_total_gib"] for record in records)
        return Inventory(len(records), parse_xpu_models(listing), memory_gib, device.driver)

    def count_devices(self, smi: str = "") -> int | None:
        """Return how many xpu_smi lists; `open` cannot do without it."""
        return len(parse_xpu_smi(run_tool(TOOL, "-m")))

    def framework_versions(self) -> dict[str, str]:
        """Return torch_xmlir's version: its parts as `__version__` lists them, else as `--doctor` prints them.

        The installed distribution, xmlir, has a version without the revision that documents state. Raises DeviceError
        if `--doctor` is needed and fails.
        """
        text = _listed(getattr(self._xmlir, "__version__", ""))
        if not _REVISION.search(text):
            text = "; ".join(line.strip() for line in _doctor().splitlines() if "xmlir" in line.lower()) or text
        return {"torch_xmlir": text} if text else {}


def _listed(version: Any) -> str:
    """Return a version as text, xmlir's part first: it is an OrderedDict of parts, as XPYTORCH: XMLIR--e70db8f6."""
    if not isinstance(version, Mapping):
        return str(version)
    parts = [f"{part}: {text}" for part, text in version.items()]
    return ", ".join(sorted(parts, key=lambda part: "xmlir" not in part.lower()))


def _doctor() -> str:
    """Return what `python -m torch_xmlir --doctor` prints. Raises DeviceError."""
    command = [sys.executable, "-m", "torch_xmlir", "--doctor"]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_DOCTOR_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"torch_xmlir.__version__ names no revision, and --doctor failed: {error}") from None
    return done.stdout.decode("utf-8", "replace")


BACKEND = KunlunxinBackend
