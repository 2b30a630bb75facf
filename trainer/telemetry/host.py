"""The host itself, through psutil: memory, use of its cores, load, and the processors' temperature where given."""

from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

from trainer.telemetry.base import Sampler, Samples
from trainer.telemetry.metrics import HOST_METRICS, checked

SOURCE = "host"

_GIB = float(2**30)
# The kernel's drivers for processors' own sensors; others are of disks, boards and network cards.
_PROCESSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


def host_sampler() -> Sampler:
    """Return what samples this host; used memory is what no program could be given."""
    return Sampler(SOURCE, tuple(HOST_METRICS.values()), _Host().read)


class _Host:
    """Knows whether the cores' use has been asked before: it is that of the time since."""

    def __init__(self) -> None:
        self._begun = False

    def read(self) -> Samples:
        import psutil

        memory, use_percent = psutil.virtual_memory(), psutil.cpu_percent(None)
        record: dict[str, Any] = {
            "source": SOURCE,
            "host_memory_used_gib": (memory.total - memory.available) / _GIB,
            "host_memory_total_gib": memory.total / _GIB,
            "host_cpu_percent": use_percent if self._begun else None,
            "host_load_1m": os.getloadavg()[0],
            "host_temperature_c": hottest_processor(_temperatures()),
        }
        self._begun = True
        kept, complaints = checked(record, HOST_METRICS.values(), "psutil")
        return [kept, *({"error": complaint} for complaint in complaints)]


def hottest_processor(sensors: Mapping[str, Sequence[Any]]) -> float | None:
    """Return the highest temperature in C that a processor's sensor tells; None where there is none, as in most VMs."""
    found = [float(one.current) for name in _PROCESSORS for one in sensors.get(name, ()) if one.current is not None]
    return max(found, default=None)


def _temperatures() -> Mapping[str, Sequence[Any]]:
    import psutil

    read = getattr(psutil, "sensors_temperatures", None)  # not on every system
    try:
        return read() if read else {}
    except (OSError, ValueError):
        return {}
