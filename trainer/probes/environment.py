"""The environment of a run: machine, devices, network, system, software, and where in the host a rank runs.

Nothing is asked over a network, and nothing secret is read: the only environment variable is CONFORMANCE_IMAGE, the
name of the container's image, which is not known inside it. Items that cannot be read are recorded as absent, with why.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any, Callable, Iterable

from evidence.events.host import Environment, Interface, Port
from evidence.files import sha256_of
from trainer.devices import Backend, DeviceInfo, Inventory
from trainer.settings import Settings
from trainer.telemetry.base import normal_pci, within

IMAGE_VARIABLE = "CONFORMANCE_IMAGE"
HOST_OS_RELEASE = "run/host/os-release"
"""The host's os-release in a container, if it was mounted there (systemd's container interface)."""

ROOT = Path("/")
_PACKAGES = ("torch", "torchvision", "numpy", "Pillow", "pycocotools", "xmlir", "xacc")
_PATIENCE_S = 25.0
_LONGEST = 200  # characters of a text that some other program wrote
# Placeholders of firmware.
_BLANK = ("", "to be filled by o.e.m.", "system product name", "system manufacturer", "default string", "not specified")


class _Facts:
    """Collects items, or the reason why an item is absent."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.absent: dict[str, str] = {}

    def note(self, item: str, read: Callable[[], Any]) -> None:
        """Record the value of `read`, or why there is none: its error, or "nothing found"."""
        try:
            value = read()
        except Exception as error:  # any part of an environment may be broken
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
            self.absent[item] = _short(f"{where}{said or type(error).__name__}")
            return
        if value is None or value in ("", [], (), {}):
            self.absent.setdefault(item, "nothing found")
        else:
            self.found[item] = value


def gather(settings: Settings, backend: Backend, device: DeviceInfo, root: Path = ROOT) -> Environment:
    """Return the event `environment` of this host; `absent` has the reasons for missing items."""
    facts = _Facts()
    facts.note("machine", lambda: machine(root))
    _devices(facts, backend, device, settings.smi)
    facts.note("network", lambda: infiniband_ports(root))
    facts.note("ethernet", lambda: ethernet_speeds(root))
    facts.note("container", lambda: container_sign(root))
    facts.note("os", lambda: operating_system(root, inside=bool(facts.found.get("container"))))
    facts.note("kernel", lambda: _short(platform.release()))
    facts.note("image", lambda: _short(os.environ.get(IMAGE_VARIABLE, "")))
    if "image" in facts.absent:
        facts.absent["image"] = f"{IMAGE_VARIABLE} is not set; a container does not know its image's name"
    facts.note("architecture", lambda: _short(platform.machine()))
    facts.note("packages", package_versions)
    _framework(facts, backend)
    backbone = settings.backbone
    if backbone is not None:
        facts.note("backbone_sha256", lambda: sha256_of(backbone))
    return Environment(**facts.found, absent=facts.absent)


def machine(root: Path = ROOT) -> dict[str, str]:
    """Return the firmware's `vendor` and `product` (DMI). Raises OSError without DMI."""
    folder = root / "sys" / "class" / "dmi" / "id"
    found = {name: _line(folder / file) for name, file in (("vendor", "sys_vendor"), ("product", "product_name"))}
    return {name: text for name, text in found.items() if text.lower() not in _BLANK}


def placement(root: Path = ROOT, cpus: Iterable[int] | None = None) -> dict[str, Any]:
    """Return `cpus` (this process's by default) as in 0-3,8, their `numa_nodes`, and the allowed `memory_nodes`.

    Nodes are [] if the kernel does not list them. Sources: cpuset(7), /sys/devices/system/node.
    """
    own = set(os.sched_getaffinity(0) if cpus is None else cpus)
    nodes = root / "sys" / "devices" / "system" / "node"
    return {
        "cpus": format_list(own),
        "numa_nodes": sorted(
            int(path.parent.name[4:]) for path in nodes.glob("node[0-9]*/cpulist") if own.intersection(_list_in(path))
        ),
        "memory_nodes": _list_in(root / "proc" / "self" / "status", "Mems_allowed_list:"),
    }


def device_numa_node(pci: str | None, root: Path = ROOT) -> int | None:
    """Return the NUMA node of the device at a PCI address, as in 0000:1b:00.0; None if it is unknown."""
    address = normal_pci(pci)
    if address is None:
        return None
    try:
        node = int((root / "sys" / "bus" / "pci" / "devices" / address / "numa_node").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def format_list(numbers: Iterable[int]) -> str:
    """Return numbers in the kernel's list format: 0-3,8."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def parse_list(text: str) -> list[int]:
    """Return the numbers of a list in the kernel's format, sorted. Raises ValueError for any other text."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part)
        if match is None:
            raise ValueError(f"{part[:40]!r} is neither a number nor a range, as in 0-3,8")
        found.update(range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1))
    return sorted(found)


def _list_in(path: Path, name: str = "") -> list[int]:
    """Return the list on a file's first line that begins with `name`; [] without one."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((parse_list(line[len(name) :]) for line in lines if line.startswith(name)), [])
    except (OSError, ValueError):
        return []


def infiniband_ports(root: Path = ROOT) -> tuple[Port, ...]:
    """Return each port's device, port, link layer (InfiniBand, or Ethernet for RoCE), rate and state, as in sysfs.

    Source: Documentation/ABI/stable/sysfs-class-infiniband. Raises OSError without such devices.
    """
    folder = root / "sys" / "class" / "infiniband"
    ports = []
    for device in sorted(os.listdir(str(folder))):
        for port in sorted((folder / device / "ports").glob("*")):
            facts = {"device": _short(device), "port": _short(port.name)}
            for name in ("link_layer", "rate", "state"):
                with contextlib.suppress(OSError):
                    facts[name] = _line(port / name)
            ports.append(Port(**facts))
    return tuple(ports)


def ethernet_speeds(root: Path = ROOT) -> tuple[Interface, ...]:
    """Return the speed in Mb/s of each network interface with a device and a known speed."""
    found = []
    for path in sorted((root / "sys" / "class" / "net").glob("*")):
        with contextlib.suppress(OSError, ValueError):
            if (path / "device").exists() and int(_line(path / "speed")) > 0:
                found.append(Interface(_short(path.name), int(_line(path / "speed"))))
    return tuple(found)


def container_sign(root: Path = ROOT) -> str:
    """Return the sign that this is a container; "" without one, which does not prove that it is none."""
    for name in (".dockerenv", "run/.containerenv", ".singularity.d"):
        if (root / name).exists():
            return f"/{name}"
    with contextlib.suppress(OSError):
        groups = (root / "proc" / "1" / "cgroup").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"docker|kubepods|containerd|crio|lxc|libpod|enroot", groups)
        return f"/proc/1/cgroup: {found.group()}" if found else ""
    return ""


def operating_system(root: Path = ROOT, *, inside: bool) -> dict[str, str]:
    """Return `name`, `version` and `pretty` of os-release, and `of`: "host", or "image" for a container's own.

    A container's os-release is its image's; its host's is read from HOST_OS_RELEASE if mounted.
    """
    hosts, *others = root / HOST_OS_RELEASE, root / "etc" / "os-release", root / "usr" / "lib" / "os-release"
    of = "host" if hosts.exists() or not inside else "image"
    path = next((path for path in (hosts, *others) if path.exists()), others[-1])
    values = parse_os_release(path.read_text(encoding="utf-8", errors="replace"))
    keys = (("name", "NAME"), ("version", "VERSION_ID"), ("pretty", "PRETTY_NAME"))
    found = {name: _short(values[key]) for name, key in keys if values.get(key)}
    if not found:
        raise ValueError("os-release has neither NAME nor PRETTY_NAME")
    return {**found, "of": of}


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments of os-release(5), unquoted; lines of another form are left out."""
    found = {}
    for line in text.splitlines():
        name, is_assignment, value = line.strip().partition("=")
        if is_assignment and re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[name] = re.sub(r"\\(.)", r"\1", value[1:-1]) if quoted else value
    return found


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a run computes, if installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name.lower()] = _short(importlib.metadata.version(name))
    # The modules' own versions: a vendor's build may be installed without metadata, or under another name.
    import torch
    import torchvision

    return {**found, "torch": _short(str(torch.__version__)), "torchvision": _short(str(torchvision.__version__))}


def _devices(facts: _Facts, backend: Backend, device: DeviceInfo, smi: str) -> None:
    try:
        inventory = within(_PATIENCE_S, lambda: backend.inventory(device, smi))
    except Exception as error:  # the vendor's tool, which may fail in any way
        inventory = Inventory(driver=device.driver)
        facts.absent.update(
            dict.fromkeys(("card_count", "card_memory_gib"), _short(str(error) or type(error).__name__))
        )
    facts.absent.update(inventory.absent)
    # The name found by the rank, and the names that the tool lists.
    facts.note("cards", lambda: tuple(sorted({device.name, *inventory.names} - {""})))
    facts.note("card_count", lambda: inventory.count)
    facts.note("card_memory_gib", lambda: tuple(inventory.memory_gib or filter(None, [device.capacity_gib])))
    facts.note("driver", lambda: _short(inventory.driver or device.driver or ""))
    facts.found.update(card_serials=tuple(map(_short, inventory.serials)), card_pci=inventory.pci)


def _framework(facts: _Facts, backend: Backend) -> None:
    """Add the versions of the vendor's framework to those of the packages."""
    try:
        found = backend.framework_versions()
    except Exception as error:  # the vendor's code
        facts.absent["framework"] = _short(str(error) or type(error).__name__)
        return
    if found:
        facts.found["packages"] = {
            **facts.found.get("packages", {}),
            **{name: _short(text) for name, text in found.items()},
        }


def _line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return _short(lines[0]) if lines else ""


def _short(text: str) -> str:
    # Undecodable file names come as lone surrogates, which are invalid in JSON.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
