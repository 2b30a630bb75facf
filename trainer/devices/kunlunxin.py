"""Kunlunxin XPUs through torch_xmlir, in the two forms that its frameworks have.

R200 and R300: devices of torch_xmlir beside the vendor's CPU build of torch 1.12.1. Newer frameworks (P800 and on):
devices of torch.cuda. `import_framework` finds out which one is installed.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Mapping, Sequence

from trainer.devices.base import Backend, DeviceInfo, Inventory, inventory_by, visible_index
from trainer.devices.cuda import CudaBackend
from trainer.errors import DeviceError
from trainer.telemetry import load_smi
from trainer.telemetry.base import AbsentError, DevicePlace, Sampler, device_sampler, finish
from trainer.telemetry.xpu_smi import XPU_SMI

if TYPE_CHECKING:
    import torch


_XPU_PARTS = ("device", "xpu.manual_seed_all", "xpu.xpu_synchronize")
"""What the trainer calls of framework xmlir+e70db8f6."""
_REVISION = re.compile(r"(?<![A-Za-z0-9])(?=[0-9]*[a-f])[0-9a-f]{7,40}(?![A-Za-z0-9])")
_DOCTOR_S = 60.0


class KunlunxinBackend(Backend):
    """One XPU per rank. This is not Intel's torch.xpu, which shares the device's name: only torch_xmlir counts."""

    name = "kunlunxin"
    requires: ClassVar[Mapping[str, str]] = {
        "torch_xmlir": "it comes with Kunlunxin's container image (for the R300 pytorch1.12.1-cpu-ubuntu18.04:v0.04, "
        "framework xmlir); run the suite inside that image, with the Python that has it"
    }
    environment: ClassVar[Mapping[str, str]] = {"XACC_ENABLE": "1", "XACC_ARGS": "-L O0", "BKCL_PCIE_RING": "1"}
    visible_devices = "XPU_VISIBLE_DEVICES"
    also_visible = ("CUDA_VISIBLE_DEVICES",)
    device_api = "torch_xmlir"
    plain_ddp = True

    _xmlir: Any = None
    _added: Sequence[str] = ()

    def set_environment(self) -> None:
        """Set what the framework of the R300 reads at import; see `import_framework` for others."""
        self._added = [key for key in self.environment if key not in os.environ]
        super().set_environment()

    def import_framework(self) -> Backend:
        """Import torch_xmlir, and return this backend or that of its newer form, as the parts that it has demand."""
        try:
            self._xmlir = importlib.import_module("torch_xmlir")
        except ImportError as error:
            raise DeviceError(f"torch_xmlir cannot be imported ({error}): {self.requires['torch_xmlir']}") from None
        if not shows_cuda(self._xmlir):
            return self
        for key in self._added:  # the R300's
            os.environ.pop(key, None)
        return KunlunxinCudaBackend(self._xmlir)

    def open(self, local_rank: int, local_world_size: int) -> DeviceInfo:
        """Bind this rank to `xpu:<local rank>` of the visible devices, after asking xpu_smi what the host has.

        A tool that is missing is an error, as nothing else reads the memory. One that hangs or fails may answer later.
        """
        names, records = self.named_devices(), _listed_devices(is_needed=True)
        found = len(names) or len(records)
        if found < local_world_size and (names or records):
            raise DeviceError(
                f"{local_world_size} devices are needed on this host and {found} are visible; check "
                f"{self.visible_devices}"
            )
        own = device_at(records, names, local_rank, self.visible_devices)
        self._index = own.get("card", visible_index(self.visible_devices, local_rank))
        self.device = self._xmlir.device(f"xpu:{local_rank}")
        # xpu_synchronize takes no argument: the current device, if the framework has one, has to be this one.
        choose = getattr(self._xmlir.xpu, "set_device", None)
        if callable(choose):
            choose(local_rank)
        chosen = (
            "this rank's" if callable(choose) else "the framework's choice, as it has no torch_xmlir.xpu.set_device"
        )
        self.synchronise_note = (
            "torch_xmlir.xpu.xpu_synchronize takes no device, and it is not documented whether it waits for all "
            f"devices or for the current one, which is {chosen}"
        )
        capacity_gib = own.get("memory_total_gib")
        return DeviceInfo("Kunlunxin XPU", self._index, capacity_gib, _driver(), own.get("serial"), own.get("pci"))

    def collectives(self) -> str:
        """`xccl` if the framework has registered it, else `nccl`, which it hooks."""
        return _collectives()

    def seed(self, seed: int) -> None:
        super().seed(seed)
        self._xmlir.xpu.manual_seed_all(seed)

    def set_random_states(self, states: Mapping[str, torch.Tensor], anew: int) -> None:
        """Restore the host's generator and seed the device's with `anew`: its state cannot be read."""
        super().set_random_states(states, anew)
        self._xmlir.xpu.manual_seed_all(anew)

    def synchronise(self) -> None:
        self._xmlir.xpu.xpu_synchronize()

    def samplers(
        self, local_rank: int, *, rank_pids: Sequence[int] = (), places: Sequence[DevicePlace] = (), smi: str = ""
    ) -> list[Sampler]:
        """Local rank 0 asks xpu_smi for the devices of this host's ranks, at full rate: nothing else reads memory."""
        if local_rank != 0:
            return []
        tool = device_sampler(load_smi(XPU_SMI.name), places or [DevicePlace(self._index)])
        return [replace(tool, least_interval_s=0.0), *super().samplers(local_rank)]

    def inventory(self, device: DeviceInfo, smi: str = "") -> Inventory:
        return inventory_by(load_smi(XPU_SMI.name))

    def listed_devices(self, smi: str = "") -> list[int] | None:
        """Return the indexes of the devices whose memory xpu_smi shows: nothing else reads it."""
        return [record["card"] for record in load_smi(XPU_SMI.name).read() if "memory_total_gib" in record]

    def framework_versions(self) -> dict[str, str]:
        """Return torch_xmlir's version: its parts as `__version__` lists them, else as `--doctor` prints them.

        The installed distribution, xmlir, has a version without the revision that documents state. Raises DeviceError
        if `--doctor` is needed and fails.
        """
        return _versions(self._xmlir)


class KunlunxinCudaBackend(CudaBackend):
    """One XPU per rank, as a framework that shows XPUs as devices of torch.cuda has it; xpu_smi names the devices."""

    name = KunlunxinBackend.name
    also_visible = (str(KunlunxinBackend.visible_devices),)
    device_api = "torch_xmlir as torch.cuda"
    plain_ddp = True
    # Pinning in loaders goes past torch.cuda, to the runtime; neither it nor copies beside a step were tried.
    pin_memory = False
    copies_beside = False

    def __init__(self, xmlir: Any) -> None:
        self._xmlir = xmlir

    def open(self, local_rank: int, local_world_size: int) -> DeviceInfo:
        """Bind this rank to device `local_rank` of the visible ones, and look it up in xpu_smi.

        By PCI address if torch has it. The framework calls every model "GPU", so the name is the tool's if it has one.
        """
        device, records = super().open(local_rank, local_world_size), _listed_devices(is_needed=False)
        own: Mapping[str, Any]
        if device.pci is not None and any(record.get("pci") for record in records):
            own = next((record for record in records if record.get("pci") == device.pci), {})
        else:
            own = device_at(records, self.named_devices(), local_rank, self.visible_devices)
        self._index = own.get("card", device.index)
        return replace(
            device,
            name=own.get("name", device.name),
            index=self._index,
            driver=_driver(),
            serial=own.get("serial", device.serial),
            pci=device.pci or own.get("pci"),
        )

    def collectives(self) -> str:
        """`xccl` if the framework has registered it, else `nccl`, which it provides."""
        return _collectives()

    def samplers(
        self, local_rank: int, *, rank_pids: Sequence[int] = (), places: Sequence[DevicePlace] = (), smi: str = ""
    ) -> list[Sampler]:
        return super().samplers(local_rank, rank_pids=rank_pids, places=places, smi=XPU_SMI.name)

    def inventory(self, device: DeviceInfo, smi: str = "") -> Inventory:
        return super().inventory(device, XPU_SMI.name)

    def framework_versions(self) -> dict[str, str]:
        return _versions(self._xmlir)


def shows_cuda(xmlir: Any) -> bool:
    """Return whether a torch_xmlir shows its devices as torch.cuda; False for one with the interface of the R300's.

    Raises DeviceError for a module that has neither interface whole.
    """
    import torch

    parts = {name: callable(_part(xmlir, name)) for name in (*_XPU_PARTS, "xpu.synchronize")}
    if all(parts[name] for name in _XPU_PARTS):
        return False
    parts["devices in torch.cuda"] = torch.cuda.is_available()
    if parts["xpu.synchronize"] and parts["devices in torch.cuda"] and not parts["xpu.xpu_synchronize"]:
        return True
    has, lacks = (", ".join(name for name, is_there in parts.items() if is_there is wanted) for wanted in (True, False))
    raise DeviceError(
        f"the torch_xmlir at {getattr(xmlir, '__file__', '?')} has {has or 'nothing'} and lacks {lacks}; expected all "
        f"of {', '.join(_XPU_PARTS)} (framework xmlir+e70db8f6), or xpu.synchronize, devices in torch.cuda and no "
        "xpu.xpu_synchronize (newer ones); check that torch and torch_xmlir are those of one image, and that it sees "
        "the devices (xpu_smi, CUDA_VISIBLE_DEVICES)"
    )


def device_at(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], local_rank: int, variable: str
) -> Mapping[str, Any]:
    """Return the tool's record of a local rank's device; {} if the tool listed nothing.

    `names` are those of the variable that chooses devices. A container may list two of a host's eight, under the host's
    indexes. So the names are indexes if the tool lists all of them, and positions in its list if it lists none; some of
    both is an error, as one of the devices may be lost. Without names all devices are visible, in order of their
    indexes. Raises DeviceError.
    """
    by_index = {record["card"]: record for record in records}
    ordered = sorted(by_index)
    if not ordered:
        return {}
    numbers = [int(name) if name.isascii() and name.isdigit() else -1 for name in names] or list(range(len(ordered)))
    is_listed = [bool(names) and number in by_index for number in numbers]
    is_index = all(is_listed)
    is_position = not any(is_listed) and all(0 <= number < len(ordered) for number in numbers)
    if not (is_index or is_position) or local_rank >= len(numbers):
        wrong = ", ".join(name for name, number in zip(names, numbers) if number not in by_index)
        raise DeviceError(
            f"{variable} names device {wrong or 'none'}, needed for local rank {local_rank}, and xpu_smi lists "
            f"{', '.join(map(str, ordered))}; name devices by these indexes"
        )
    return by_index[numbers[local_rank] if is_index else ordered[numbers[local_rank]]]


def _listed_devices(*, is_needed: bool) -> list[Mapping[str, Any]]:
    """Return what xpu_smi lists, [] if it does not answer. Raises AbsentError if it is needed and not there."""
    try:
        return [record for record in load_smi(XPU_SMI.name).read() if "error" not in record]
    except DeviceError as error:
        if is_needed and isinstance(error, AbsentError):
            raise
        print(f"trainer: this rank's device was not looked up in xpu_smi: {error}", file=sys.stderr, flush=True)
        return []


def _driver() -> str | None:
    """Return the driver's version; None if the tool does not give it: the environment has the reason."""
    try:
        return load_smi(XPU_SMI.name).driver()
    except DeviceError:
        return None


def _collectives() -> str:
    import torch.distributed as dist

    # Newer versions of torch have an xccl backend of Intel's under the same name.
    intels = hasattr(dist, "is_xccl_available")
    return "xccl" if hasattr(dist.Backend, "XCCL") and not intels else "nccl"


def _part(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def _versions(xmlir: Any) -> dict[str, str]:
    text = _listed(getattr(xmlir, "__version__", ""))
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
        _, text, _ = finish(command, _DOCTOR_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"torch_xmlir.__version__ names no revision, and --doctor failed: {error}") from None
    return text


BACKEND = KunlunxinBackend
