"""Kunlunxin's `xpu_smi`: memory, power, use and, if its column is unambiguous, temperature of every device."""

from __future__ import annotations

import math
import re
from typing import Any, Sequence

from trainer.errors import DeviceError
from trainer.telemetry.base import MIB_PER_GIB, Samples, declare, device_readings, run_tool

TOOL = ("xpu_smi", "xpu-smi")
XPU_SMI = declare(
    "xpu_smi",
    device_readings("memory_used_gib", "memory_total_gib", "power_w", "use_percent", "temperature_c"),
    "local rank 0, for all devices of the host; temperature only if its column is certain",
    "the vendor's columns; **never tried on a device here**",
)

# `xpu_smi -m`, columns counted from 0: power 8, memory used 17 and total 18 (MiB), use 19.
_POWER, _USED, _TOTAL, _USE = 8, 17, 18, 19
# Counted from 1, the temperature is column 5 of older tools and 7 of newer ones; the content of the other column and
# the version of the change are unknown. A number outside the possible range rules a column out.
_TEMPERATURES = (4, 6)
_MODEL = re.compile(r"(?<![\w-])[KPR][0-9]{3}[A-Z]?(?![\w-])")
_COLDEST_C, _HOTTEST_C = 1.0, 130.0


class XpuSmi:
    """Reads the tool's listing, and remembers which column cannot be the temperature."""

    def __init__(self) -> None:
        self._possible = list(_TEMPERATURES)

    def read(self) -> Samples:
        """Return a sample of every device; a complaint if the temperature is ambiguous. Raises DeviceError."""
        return self.parse(run_tool(TOOL, "-m"))

    def parse(self, text: str) -> Samples:
        """Return the samples of the tool's output."""
        records = parse_xpu_smi(text)
        rows = [line.split() for line in text.splitlines() if line.strip()]
        self._possible = [column for column in self._possible if all(_warm(row[column]) for row in rows)]
        samples: Samples = [{**record, "source": XPU_SMI.name} for record in records]
        if not self._possible:
            return [*samples, {"error": "temperature not read: neither column 5 nor 7 of xpu_smi -m can be one"}]
        columns = [[float(row[column]) for row in rows] for column in self._possible]
        if columns.count(columns[0]) < len(columns):
            return [
                *samples,
                {"error": "temperature not read: columns 5 and 7 of xpu_smi -m differ, and either could be it"},
            ]
        for sample, celsius in zip(samples, columns[0]):
            sample["temperature_c"] = celsius
        return samples


def parse_xpu_smi(text: str) -> list[dict[str, Any]]:
    """Return a record a device from `xpu_smi -m`: device, memory_used_gib, memory_total_gib, power_w, use_percent.

    The tool prints one whitespace-separated line a device, in order. Raises DeviceError for a line of another form, as
    a wrong column would give a wrong memory figure.
    """
    records: list[dict[str, Any]] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        columns = line.split()
        used_mib, total_mib, power_w, use_percent = _numbers(columns, line)
        if not 0 <= used_mib <= total_mib < math.inf or total_mib <= 0 or not 0 <= use_percent <= 100:
            raise DeviceError(
                f"xpu_smi -m printed memory {used_mib:g} of {total_mib:g} MiB and use {use_percent:g} %, which "
                f"cannot be: {line!r}"
            )
        if not 0 <= power_w <= 10_000:
            raise DeviceError(f"xpu_smi -m printed power {power_w:g} W, which cannot be: {line!r}")
        records.append(
            {
                "card": len(records),
                "memory_used_gib": used_mib / MIB_PER_GIB,
                "memory_total_gib": total_mib / MIB_PER_GIB,
                "power_w": power_w,
                "use_percent": use_percent,
            }
        )
    if not records:
        raise DeviceError("xpu_smi -m printed no device")
    return records


def parse_xpu_driver(text: str) -> str:
    """Return the version on the line `Driver Version` of plain `xpu_smi`. Raises DeviceError when there is none."""
    for line in text.splitlines():
        _, word, after = line.partition("Driver Version")
        tokens = after.replace("|", " ").replace(":", " ").split()
        if word and tokens:
            return tokens[0]
    raise DeviceError("xpu_smi printed no line with a 'Driver Version'")


def parse_xpu_models(text: str) -> tuple[str, ...]:
    """Return the models in the output of plain `xpu_smi`, as in R300: any word of that form."""
    return tuple(sorted(set(_MODEL.findall(text))))


def _numbers(columns: Sequence[str], line: str) -> tuple[float, float, float, float]:
    try:
        used, total, power, use = (float(columns[column]) for column in (_USED, _TOTAL, _POWER, _USE))
    except (IndexError, ValueError):
        raise DeviceError(f"xpu_smi -m printed a line that is not one device's twenty columns: {line!r}") from None
    return used, total, power, use


def _warm(word: str) -> bool:
    try:
        return _COLDEST_C <= float(word) <= _HOTTEST_C
    except ValueError:
        return False
