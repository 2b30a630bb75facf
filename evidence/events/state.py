"""Events of what a rank and its device are like at a moment: memory, health, progress, failure, end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping

from evidence.events.declare import event


@event("memory")
@dataclass(frozen=True)
class Memory:
    """Peaks in GiB: of the device's allocator, and the resident memory of the rank's process."""

    allocated_gib: float | None = None
    reserved_gib: float | None = None
    resident_gib: float | None = None


BEFORE, AFTER = "before", "after"
"""`Health.when`: before the rank's training, and right after it."""


@event("health")
@dataclass(frozen=True)
class Health:
    """What the rank's device has counted and how its PCIe link runs; None, or absent from a mapping: not read.

    Errors and retired pages are counted since a time that the tool chooses, as the start of the driver: only their
    growth is of the run. `retirement_pending`: a page or row is going to be retired. `pcie_width` in lanes and
    `pcie_generation` are of now, those ending in `_max` what device and slot can do. `link_errors` are of NVLink and
    of PCIe (AER), by kind. `kernel_log` are lines of the kernel's log that name the device's PCI address and came
    since the event before. `sources` are what was read, `absent` why something was not.
    """

    when: str
    card: int
    pci: str | None = None
    sources: tuple[str, ...] = ()
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    retired_pages: int | None = None
    remapped_rows: int | None = None
    retirement_pending: bool | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_generation: int | None = None
    pcie_generation_max: int | None = None
    link_errors: Mapping[str, int] = field(default_factory=dict)
    kernel_log: tuple[str, ...] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    t_ns: int = 0


@event("progress")
@dataclass(frozen=True)
class Progress:
    """How far a phase is; written when nothing else was for a while, so that supervision sees the rank alive."""

    phase: str
    done: int
    total: int | None = None


@event("failure")
@dataclass(frozen=True)
class Failure:
    """Why a rank gave up; `kind` is the family of the reason, as "disk"."""

    kind: str
    message: str


@event("end", once=True)
@dataclass(frozen=True)
class End:
    """The last event of a rank that came through: `reason` is target, last_epoch or steps."""

    reason: str
    t_ns: int = 0
