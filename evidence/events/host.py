"""What a host was found to be: the event `environment` of its first rank."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping

from evidence.events.declare import event


@dataclass(frozen=True)
class Port:
    """A port of an InfiniBand or RoCE device, in sysfs's words: "InfiniBand", "200 Gb/sec (4X HDR)", "4: ACTIVE"."""

    device: str
    port: str
    link_layer: str | None = None
    rate: str | None = None
    state: str | None = None


@dataclass(frozen=True)
class Interface:
    """A network interface with a device behind it, and its speed in Mb/s."""

    interface: str
    speed_mb_s: int


@event("environment", once=True)
@dataclass(frozen=True)
class Environment:
    """The machine, its devices and its software, each as far as it could be read; empty where nothing was found.

    `machine` has DMI's `vendor` and `product`. `cards` are the names of the host's devices, `card_count` all devices,
    in use or not; `card_serials` and `card_pci` are in the order of the tool's list. `os` has `name`, `version`,
    `pretty`, and `of`: "image" where the system is the container's own. `architecture` is the kernel's (x86_64); older
    bundles lack it. `absent` gives, by item, the reason why something was not found.
    """

    machine: Mapping[str, str] = field(default_factory=dict)
    cards: tuple[str, ...] = ()
    card_count: int | None = None
    card_memory_gib: tuple[float, ...] = ()
    card_serials: tuple[str, ...] = ()
    card_pci: tuple[str, ...] = ()
    network: tuple[Port, ...] = ()
    ethernet: tuple[Interface, ...] = ()
    os: Mapping[str, str] = field(default_factory=dict)
    kernel: str = ""
    architecture: str = ""
    driver: str = ""
    image: str = ""
    container: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    backbone_sha256: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def machine_name(self) -> str:
        """Vendor and product in one text."""
        return " ".join(filter(None, (self.machine.get("vendor"), self.machine.get("product"))))
