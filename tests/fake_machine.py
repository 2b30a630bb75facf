"""Machines made to match the published environments, from the firmware's name to the installed packages.

None of them is at hand. Imitated is what the environment's probe reads: files of /sys and /etc, the vendor's tool on
PATH, metadata of installed packages, torch_xmlir, and what Python says of itself. Sources: sysfs of the kernel's
documentation; os-release(5); `xpu_smi` as in tests/fake_kunlunxin; `nvidia-smi --help-query-gpu`, whose queries ixsmi
takes; listings of mx-smi published by MetaX; core metadata of installed distributions.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping

from evidence.events.host import Environment
from tests.support import ROOT, device_of, python_script
from trainer.devices import load_backend
from trainer.devices.base import DeviceInfo
from trainer.probes.environment import gather
from trainer.settings import Settings

FAKE_KUNLUNXIN = ROOT / "tests" / "fake_kunlunxin"

# Answers queries of the form of nvidia-smi, one line a device.
_QUERIED = """import sys
fields = next(word for word in sys.argv if word.startswith("--query-gpu=")).partition("=")[2].split(",")
for device in range({devices}):
    values = {{"index": device, "pci.bus_id": "00000000:%02X:00.0" % (16 + device), "memory.used": 1024,
              "memory.total": {memory_mib}, "driver_version": "{driver}"}}
    print(", ".join(str(values.get(field, "[N/A]")) for field in fields))
"""
_MX_SMI = """print("| MX-SMI 2.1.6                        Kernel Mode Driver Version: {driver}            |")
for device in range({devices}):
    print("| %d           MXC500                 | 0000:%02x:00.0        | 97%%             |" % (device, 16 + device))
    print("| 36C         60W                    | 858/{memory_mib} MiB       |                      |")
"""


@dataclass(frozen=True)
class FakeMachine:
    """A host with its container. `name` is what the framework calls a device; `environment` are variables."""

    marker: str
    name: str
    driver: str
    memory_mib: int
    devices: int = 8
    product: str = ""
    system: str = "Ubuntu 20.04"
    kernel: str = "5.4.0-26-generic"
    architecture: str = "x86_64"
    image: str = ""
    link_layer: str = "InfiniBand"
    rate: str = "200 Gb/sec (4X HDR)"
    python: str = "3.8.18"
    torch: str = "1.12.1+cpu"
    torchvision: str = "0.13.1+cpu"
    packages: Mapping[str, str] = field(default_factory=dict)
    revision: str = "e70db8f6"
    model: str = "R300"

    def write(self, folder: Path) -> None:
        """Write what the probe reads below `folder`."""
        name, _, version = self.system.partition(" ")
        port = folder / "root/sys/class/infiniband/mlx5_0/ports/1"
        files = {
            folder / "root/sys/class/dmi/id/sys_vendor": "A vendor of servers",
            folder / "root/sys/class/dmi/id/product_name": self.product,
            folder / "root/.dockerenv": "",
            folder / "root/etc/os-release": 'NAME="Ubuntu"\nVERSION_ID="18.04"\n',  # the image's own
            folder / "root/run/host/os-release": f'NAME="{name}"\nVERSION_ID="{version}"\n',
            port / "link_layer": self.link_layer,
            port / "rate": self.rate,
            port / "state": "4: ACTIVE",
        }
        for package, installed in self.packages.items():
            metadata = folder / "site" / f"{package}-{installed}.dist-info" / "METADATA"
            files[metadata] = f"Metadata-Version: 2.1\nName: {package}\nVersion: {installed}\n"
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        tools = {"nvml": ("nvidia-smi", _QUERIED), "ixsmi": ("ixsmi", _QUERIED), "mx-smi": ("mx-smi", _MX_SMI)}
        tool, form = tools.get(device_of(self.marker).smi, ("", ""))
        (folder / "bin").mkdir()
        if tool:
            script = folder / "bin" / tool
            facts = {"devices": self.devices, "memory_mib": self.memory_mib, "driver": self.driver}
            script.write_text(python_script(form.format(**facts)))
            script.chmod(0o755)

    def variables(self, folder: Path) -> dict[str, str]:
        """Return the environment variables of the machine's container."""
        return {
            "PATH": os.pathsep.join([str(folder / "bin"), str(FAKE_KUNLUNXIN), os.environ["PATH"]]),
            "CONFORMANCE_IMAGE": self.image,
            "FAKE_XPU_CALLS": str(folder / "calls.jsonl"),
            "FAKE_XPU_CARDS": str(self.devices),
            "FAKE_XPU_TOTAL_MIB": str(self.memory_mib),
            "FAKE_XPU_DRIVER": self.driver,
            "FAKE_XPU_MODEL": self.model,
            "FAKE_XMLIR_VERSION": f"XMLIR--{self.revision}",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(FAKE_KUNLUNXIN), os.environ.get("PYTHONPATH")])),
        }

    def put_on(self, folder: Path, replace: Callable[[Any, str, Any], None]) -> None:
        """Make this process believe that it runs on the machine; `replace` is setattr, or monkeypatch's."""
        import torch
        import torchvision

        sys.path[:0] = [str(folder / "site"), str(FAKE_KUNLUNXIN)]
        replace(platform, "release", lambda: self.kernel)
        replace(platform, "machine", lambda: self.architecture)
        replace(platform, "python_version", lambda: self.python)
        replace(torch, "__version__", self.torch)
        replace(torchvision, "__version__", self.torchvision)

    def environment(self, folder: Path, monkeypatch: Any) -> Environment:
        """Return what the probe finds on the machine, which is written into `folder`."""
        self.write(folder)
        device = device_of(self.marker)
        with monkeypatch.context() as patched:
            for name, text in self.variables(folder).items():
                patched.setenv(name, text)
            patched.setattr(sys, "path", list(sys.path))
            self.put_on(folder, patched.setattr)
            backend = load_backend(device.backend)
            if self.marker == "r300":
                patched.delitem(sys.modules, "torch_xmlir", raising=False)
                backend.import_framework()
                sys.modules.pop("torch_xmlir", None)  # not by `patched`, which would put it back
            settings = Settings(run_dir=folder, data=folder, pretrained_backbone=False, smi=device.smi)
            info = DeviceInfo(self.name, 0, self.memory_mib / 1024, self.driver if self.marker == "r300" else None)
            return gather(settings, backend, info, folder / "root")


MACHINES: Mapping[str, FakeMachine] = {
    one.marker: one
    for one in (
        FakeMachine(
            marker="r300",
            name="Kunlunxin XPU",
            driver="4.0.25",
            memory_mib=32768,
            product="R480-X8",
            image="registry.example/kunlunxin/pytorch1.12.1-cpu-ubuntu18.04:v0.04",
            packages={"numpy": "1.23.5", "Pillow": "9.5.0", "xmlir": "0.0.1", "xacc": "0.1.0"},
        ),
        FakeMachine(
            marker="a100",
            name="NVIDIA A100-SXM4-40GB",
            driver="470.129.06",
            memory_mib=40536,
            system="Ubuntu 18.04",
            kernel="5.4.0-113-generic",
            torch="1.12.1+cu113",
        ),
        FakeMachine(
            marker="c500",
            name="MetaX C500",
            driver="2.2.0",
            memory_mib=65536,
            torch="2.0.0+mc2.18.0.8",
        ),
        FakeMachine(
            marker="bi_v100",
            name="Iluvatar BI-V100",
            driver="3.1.0",
            memory_mib=32768,
            torch="1.13.1+corex.3.1.0",
        ),
    )
}
"""By marker: one that is as the shipped table says, but for the A100's torch, which this suite is too new for."""
