"""Where in its host a rank runs: its CPUs, the memory nodes it may use, and the node that its card is attached to.

Sources: cpuset(7) for the lists' format, /sys/devices/system/node and /sys/bus/pci in the kernel's Documentation/ABI.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Iterable

_PCI = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")


def placement(root: Path = Path("/"), cpus: Iterable[int] | None = None) -> dict[str, Any]:
    """Return the facts for the evidence; `cpus` are this process's by default.

    `cpus` is a text as in 0-3,8; `numa_nodes` are those that these CPUs belong to, `memory_nodes` those that memory may
    come from, [] where the kernel does not tell.
    """
    own = set(os.sched_getaffinity(0) if cpus is None else cpus)
    nodes = root / "sys" / "devices" / "system" / "node"
    return {
        "cpus": format_list(own),
        "numa_nodes": sorted(
            int(path.parent.name[4:]) for path in nodes.glob("node[0-9]*/cpulist") if own.intersection(_read_list(path))
        ),
        "memory_nodes": _memory_nodes(root / "proc" / "self" / "status"),
    }


def card_numa_node(pci: str | None, root: Path = Path("/")) -> int | None:
    """Return the NUMA node that the card at a PCI address, as in 0000:1b:00.0, is attached to; None where none is told.

    NVIDIA's tools write the address's domain in eight digits; the kernel has four for all but the oddest of machines.
    """
    match = _PCI.fullmatch((pci or "").strip().lower())
    if match is None:
        return None
    domain, bus, device, function = match.groups()
    address = f"{int(domain, 16):04x}:{bus}:{device}.{function}"
    try:
        node = int((root / "sys" / "bus" / "pci" / "devices" / address / "numa_node").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def format_list(numbers: Iterable[int]) -> str:
    """Return numbers as the kernel lists them: 0-3,8."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def parse_list(text: str) -> list[int]:
    """Return the numbers of a list as the kernel writes it, sorted. Raises ValueError for any other text."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part)
        if match is None:
            raise ValueError(f"{part[:40]!r} is no number and no range, as in 0-3,8")
        found.update(range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1))
    return sorted(found)


def _read_list(path: Path) -> list[int]:
    try:
        return parse_list(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return []


def _memory_nodes(status: Path) -> list[int]:
    try:
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((parse_list(line.split(":", 1)[1]) for line in lines if line.startswith("Mems_allowed_list:")), [])
    except (OSError, ValueError):
        return []
