"""MetaX's `mx-smi`: reads the table that it prints without arguments.

The format is that of listings published by MetaX and its users; untested on a device. Two lines a device, between
bars: index, name, PCI address, use; then temperature, power, memory used/total in MiB. From 2.2.9 on the first column
is the board's index and name, and the GPU has an index of its own beside "Persist-M"; a board may have several GPUs.
The table has no clocks and no throttle reasons.
"""

from __future__ import annotations

import re
from typing import Any

from trainer.errors import DeviceError
from trainer.telemetry.base import MIB_PER_GIB, Samples, Smi, declare, device_readings, normal_pci, run_tool, smi_tool

TOOL = ("mx-smi", "mx_smi")
MX_SMI = declare(
    "mx-smi",
    device_readings("memory_used_gib", "memory_total_gib", "power_w", "temperature_c", "use_percent"),
    "local rank 0",
    "listings published by MetaX and its users; **never tried on a device here**",
)

_DEVICE = re.compile(r"^\s*([0-9]{1,3})\s+(\S.*?)\s*$")
_GPU_OF_BOARD = re.compile(r"^\s*([0-9]{1,3})\s+(?:On|Off|N/A)\s*$", re.IGNORECASE)
_ADDRESS = re.compile(r"\b([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])\b")
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*/\s*([0-9]+(?:\.[0-9]+)?)\s*MiB")
_READINGS = {
    "temperature_c": re.compile(r"(?<![\w.])(-?[0-9]+(?:\.[0-9]+)?)\s*C\b"),
    "power_w": re.compile(r"(?<![\w./])([0-9]+(?:\.[0-9]+)?)\s*W\b"),
}
_LIMIT = re.compile(r"/\s*[0-9.]+\s*W\b")  # of the power, which stands there too where the power is N/A
_USE = re.compile(r"(?<![\w.])([0-9]+(?:\.[0-9]+)?)\s*%")
_DRIVER = re.compile(r"Kernel Mode Driver Version:\s*([^\s|]{1,60})")


@smi_tool(MX_SMI)
def open_mx_smi() -> Smi:
    """Return mx-smi."""
    return Smi(MX_SMI, lambda: parse_mx_smi(run_tool(TOOL)), lambda: parse_mx_driver(run_tool(TOOL)))


def parse_mx_smi(text: str) -> Samples:
    """Return a record of each GPU: card, name, pci, and the metrics.

    The first line of a board's further GPUs may have no board, and their second line no power: it is the board's.
    Readings not found exactly once, and memory that cannot be, are left out, with a complaint about that GPU. Raises
    DeviceError if no line begins a device.
    """
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if "|" in line]
    records: Samples = []
    complaints: Samples = []
    name = ""
    for parts, below in zip(lines, [*lines[1:], []]):
        board, address = _DEVICE.match(parts[0]), _ADDRESS.search("|".join(parts[1:]))
        gpu = _GPU_OF_BOARD.match(parts[1]) if address is not None and len(parts) > 2 else None
        card = gpu or board
        if card is None or address is None:
            continue
        name = name if board is None else board.group(2)
        index, second = int(card.group(1)), "|".join(below)
        record: dict[str, Any] = {"card": index, "name": name, "pci": normal_pci(address.group(1))}
        problems: list[str] = []
        found = {reading: form.findall(_LIMIT.sub("", second)) for reading, form in _READINGS.items()}
        found["use_percent"] = _USE.findall("|".join(parts[1:]))
        for reading, numbers in found.items():
            if len(numbers) == 1:
                record[reading] = float(numbers[0])
            elif numbers or board is not None or reading != "power_w":
                problems.append(f"{len(numbers)} numbers that could be {reading}, expected one")
        memory = _MEMORY.findall(second)
        used_mib, total_mib = map(float, memory[0]) if len(memory) == 1 else (0.0, 0.0)
        if 0 <= used_mib <= total_mib > 0:
            record.update(memory_used_gib=used_mib / MIB_PER_GIB, memory_total_gib=total_mib / MIB_PER_GIB)
        else:
            problems.append(f"no memory that can be: {second!r:.120}")
        records.append(record)
        complaints += [{"card": index, "error": f"mx-smi, device {index}: {one}"} for one in problems]
    if not records:
        raise DeviceError(f"mx-smi printed no line of a device: {text.strip()[:120]!r}")
    return [*records, *complaints]


def parse_mx_driver(text: str) -> str:
    """Return the kernel driver's version. Raises DeviceError where none is printed."""
    found = _DRIVER.search(text)
    if found is None:
        raise DeviceError("mx-smi printed no 'Kernel Mode Driver Version'")
    return found.group(1)
