"""Runs a vendor's management tool and reads what it prints; the tools differ, the care does not."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any, Sequence

from trainer.errors import DeviceError

MIB_PER_GIB = 1024.0

# `xpu_smi -m`, columns counted from 0: power 8, memory used 17 and total 18 (MiB), use 19.
_XPU_POWER, _XPU_USED, _XPU_TOTAL, _XPU_USE = 8, 17, 18, 19


def run_tool(names: Sequence[str], *arguments: str, timeout_s: float = 10.0) -> str:
    """Return the standard output of the first of `names` that is on PATH. Raises DeviceError with what to do."""
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        raise DeviceError(f"none of {', '.join(names)} is on PATH; install the vendor's driver tools")
    command = [found, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{' '.join(command)} did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise DeviceError(f"{' '.join(command)} could not be started: {error}") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise DeviceError(f"{' '.join(command)} ended with code {done.returncode}: {' '.join(said)}")
    return done.stdout.decode("utf-8", "replace")


def parse_xpu_smi(text: str) -> list[dict[str, Any]]:
    """Return a record a card from `xpu_smi -m`: card, memory_used_gib, memory_total_gib, power_w, use_percent.

    The tool prints one whitespace-separated line a card, in card order. Raises DeviceError for a line that does not
    have that form, with the line: a column read from the wrong place would be a wrong memory figure.
    """
    records: list[dict[str, Any]] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        columns = line.split()
        try:
            used_mib, total_mib = float(columns[_XPU_USED]), float(columns[_XPU_TOTAL])
            power_w, use_percent = float(columns[_XPU_POWER]), float(columns[_XPU_USE])
        except (IndexError, ValueError):
            raise DeviceError(f"xpu_smi -m printed a line that is not one card's twenty columns: {line!r}") from None
        if not 0 <= used_mib <= total_mib or total_mib <= 0 or not 0 <= use_percent <= 100:
            raise DeviceError(
                f"xpu_smi -m printed memory {used_mib:g} of {total_mib:g} MiB and use {use_percent:g} %, which "
                f"cannot be: {line!r}"
            )
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
        raise DeviceError("xpu_smi -m printed no card")
    return records


def parse_xpu_driver(text: str) -> str:
    """Return the version on the line `Driver Version` of plain `xpu_smi`. Raises DeviceError when there is none."""
    for line in text.splitlines():
        _, word, after = line.partition("Driver Version")
        tokens = after.replace("|", " ").replace(":", " ").split()
        if word and tokens:
            return tokens[0]
    raise DeviceError("xpu_smi printed no line with a 'Driver Version'")
