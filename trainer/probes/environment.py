"""What a host is, for the evidence: machine, cards, network, system and software, each as far as it can be read.

Nothing is asked over a network, and nothing secret is read: of the environment's variables CONFORMANCE_IMAGE alone, by
which whoever starts a container names its image, as nobody inside can know. What cannot be read is absent, with why.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import threading
from pathlib import Path
from typing import Any, Callable

from evidence.host import Environment, Interface, Port
from trainer.devices.base import Backend, Card, Inventory
from trainer.settings import Settings

IMAGE_VARIABLE = "CONFORMANCE_IMAGE"
HOST_OS_RELEASE = "run/host/os-release"
"""Where a container finds its host's, if it was put there (systemd's container interface)."""

_ROOT = Path("/")
_PACKAGES = ("torch", "torchvision", "numpy", "Pillow", "pycocotools", "torch_xmlir")
_PATIENCE_S = 25.0
_LONGEST = 200  # characters of a text that some other program wrote
# What firmware says of itself where nobody has filled it in.
_BLANK = ("", "to be filled by o.e.m.", "system product name", "system manufacturer", "default string", "not specified")


class _Facts:
    """Collects what is found, and of what is not, why."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.absent: dict[str, str] = {}

    def note(self, item: str, read: Callable[[], Any]) -> None:
        """Note what `read` returns; where it raises or returns nothing, that."""
        try:
            value = read()
        except Exception as error:  # of an environment anything may be broken; the run does not depend on it
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
            self.absent[item] = _short(f"{where}{said or type(error).__name__}")
            return
        if value is None or value in ("", [], (), {}):
            self.absent.setdefault(item, "nothing found")
        else:
            self.found[item] = value


def gather(settings: Settings, backend: Backend, card: Card, root: Path = _ROOT) -> Environment:
    """Return the facts of this host: its event `environment`; what was not found is in `absent`, by item."""
    facts = _Facts()
    facts.note("machine", lambda: machine(root))
    _cards(facts, backend, card, settings.smi)
    facts.note("network", lambda: infiniband_ports(root))
    facts.note("ethernet", lambda: ethernet_speeds(root))
    facts.note("container", lambda: container_sign(root))
    facts.note("os", lambda: operating_system(root, inside=bool(facts.found.get("container"))))
    facts.note("kernel", lambda: _short(platform.release()))
    facts.note("image", lambda: _short(os.environ.get(IMAGE_VARIABLE, "")))
    if "image" in facts.absent:
        facts.absent["image"] = f"{IMAGE_VARIABLE} is not set; a container does not know its image's name"
    facts.note("packages", package_versions)
    if settings.backbone is not None:
        facts.note("backbone_sha256", lambda: _digest(settings.backbone))
    return Environment(**facts.found, absent=facts.absent)


def machine(root: Path = _ROOT) -> dict[str, str]:
    """Return `vendor` and `product` as the firmware tells them (DMI). Raises OSError where it tells nothing."""
    folder = root / "sys" / "class" / "dmi" / "id"
    found = {name: _line(folder / file) for name, file in (("vendor", "sys_vendor"), ("product", "product_name"))}
    return {name: text for name, text in found.items() if text.lower() not in _BLANK}


def infiniband_ports(root: Path = _ROOT) -> tuple[Port, ...]:
    """Return each port's device, port, link layer (InfiniBand, or Ethernet for RoCE), rate and state, as in sysfs.

    Source: Documentation/ABI/stable/sysfs-class-infiniband. Raises OSError where the kernel has no such devices.
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


def ethernet_speeds(root: Path = _ROOT) -> tuple[Interface, ...]:
    """Return the speed in Mb/s of each network interface with a device behind it that tells one."""
    found = []
    for path in sorted((root / "sys" / "class" / "net").glob("*")):
        with contextlib.suppress(OSError, ValueError):
            if (path / "device").exists() and int(_line(path / "speed")) > 0:
                found.append(Interface(_short(path.name), int(_line(path / "speed"))))
    return tuple(found)


def container_sign(root: Path = _ROOT) -> str:
    """Return what shows that this is a container; "" where nothing does, which is no proof that it is none."""
    for name in (".dockerenv", "run/.containerenv", ".singularity.d"):
        if (root / name).exists():
            return f"/{name}"
    with contextlib.suppress(OSError):
        groups = (root / "proc" / "1" / "cgroup").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"docker|kubepods|containerd|crio|lxc|libpod|enroot", groups)
        return f"/proc/1/cgroup: {found.group()}" if found else ""
    return ""


def operating_system(root: Path = _ROOT, *, inside: bool) -> dict[str, str]:
    """Return `name`, `version` and `pretty` of os-release, and `of`: "host", or "image" for a container's own.

    A container's os-release is its image's. Its host's is read where it was put at HOST_OS_RELEASE.
    """
    hosts = root / HOST_OS_RELEASE
    of = "host" if hosts.exists() or not inside else "image"
    text = (hosts if hosts.exists() else _os_release(root)).read_text(encoding="utf-8", errors="replace")
    values = parse_os_release(text)
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
    """Return the versions of Python and of the packages that decide what a run computes, as far as they are there."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name.lower()] = _short(importlib.metadata.version(name))
    # What a module says of itself: a vendor's build may be installed without metadata, or under another's.
    import torch
    import torchvision

    return {**found, "torch": _short(str(torch.__version__)), "torchvision": _short(str(torchvision.__version__))}


def _cards(facts: _Facts, backend: Backend, card: Card, smi: str) -> None:
    try:
        inventory = _within(_PATIENCE_S, lambda: backend.inventory(card, smi))
    except Exception as error:  # the vendor's tool, which may fail in any way
        inventory = Inventory(driver=card.driver)
        facts.absent.update(
            dict.fromkeys(("card_count", "card_memory_gib"), _short(str(error) or type(error).__name__))
        )
    facts.absent.update(inventory.absent)
    # The name that the ranks found is in their introduction; what the tool calls its cards stands beside it.
    facts.note("cards", lambda: tuple(sorted({card.name, *inventory.names} - {""})))
    facts.note("card_count", lambda: inventory.count)
    facts.note("card_memory_gib", lambda: tuple(inventory.memory_gib) or _own_memory(card))
    facts.note("driver", lambda: _short(inventory.driver or card.driver or ""))


def _own_memory(card: Card) -> tuple[float, ...] | None:
    return None if card.capacity_gib is None else (card.capacity_gib,)


def _within(patience_s: float, work: Callable[[], Inventory]) -> Inventory:
    """Return what `work` returns. Raises what it raises, and TimeoutError where a library hangs in it."""
    found: list[Inventory] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised again below
            failed.append(error)

    thread = threading.Thread(target=run, name="inventory", daemon=True)
    thread.start()
    thread.join(patience_s)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"the cards' tool did not answer within {patience_s:g} s")
    return found[0]


def _digest(path: Path | None) -> str:
    from trainer.model.weights import sha256

    assert path is not None
    return sha256(path)


def _os_release(root: Path) -> Path:
    path = root / "etc" / "os-release"
    return path if path.exists() else root / "usr" / "lib" / "os-release"


def _line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return _short(lines[0]) if lines else ""


def _short(text: str) -> str:
    # File names that are no text come as lone surrogates, which no JSON reader has to take.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
