"""Samples of the host through psutil: memory, use of its cores, load, and the processors' temperature."""

from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

from evidence.telemetry import HOST_READINGS
from trainer.telemetry.base import GIB, Sampler, Samples, checked, declare

HOST = declare("host", tuple(HOST_READINGS.values()), "local rank 0 of every host, `psutil`", "tried")

# The kernel's drivers for processors' own sensors; others are of disks, boards and network devices.
_PROCESSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


def host_sampler() -> Sampler:
    """Return a sampler of this host; memory in use is the total less what is available to programs."""
    return Sampler(HOST, _Host().read)


class _Host:
    """Reads the host; psutil gives the cores' use since the call before, so the first sample has none."""

    def __init__(self) -> None:
        self._begun = False

    def read(self) -> Samples:
        import psutil

        memory, use_percent = psutil.virtual_memory(), psutil.cpu_percent(None)
        record: dict[str, Any] = {
            "source": HOST.name,
            "host_memory_used_gib": (memory.total - memory.available) / GIB,
            "host_memory_total_gib": memory.total / GIB,
            "host_cpu_percent": use_percent if self._begun else None,
            "host_load_1m": os.getloadavg()[0],
            "host_temperature_c": hottest_processor(_temperatures()),
        }
        self._begun = True
        kept, complaints = checked(record, HOST_READINGS.values(), "psutil")
        return [kept, *({"error": complaint} for complaint in complaints)]


def hottest_processor(sensors: Mapping[str, Sequence[Any]]) -> float | None:
    """Return the highest temperature in C of the processors' sensors; None without one, as in most VMs."""
    found = [float(one.current) for name in _PROCESSORS for one in sensors.get(name, ()) if one.current is not None]
    return max(found, default=None)


def _temperatures() -> Mapping[str, Sequence[Any]]:
    import psutil

    read = getattr(psutil, "sensors_temperatures", None)  # not on every system
    try:
        return read() if read else {}
    except (OSError, ValueError):
        return {}
