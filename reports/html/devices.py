"""What samplers read of devices and hosts during the run: memory, power, temperature, use and clocks."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from evidence.bundle import Evidence
from evidence.telemetry import DeviceSamples, HostSamples
from evidence.verdict import RunVerdict
from reports.html.charts import Chart, Level, Mark, lines_of, over_time
from reports.html.series import Spans, on_grid, samples, zero_ns
from verdict.metrics.memory import DeviceMemory, device_memories
from verdict.wording import limit

_READ = {
    "memory": ("Memory in use", "GiB"),
    "power_w": ("Power", "W"),
    "temperature_c": ("Temperature", "°C"),
    "use_percent": ("Use", "%"),
    "core_clock_mhz": ("Core clock", "MHz"),
    "memory_clock_mhz": ("Memory clock", "MHz"),
}
_HOST_READ = {
    "host_memory_used_gib": ("Memory of the host in use", "GiB"),
    "host_cpu_percent": ("Use of the host's processors", "%"),
    "host_temperature_c": ("Temperature of the host", "°C"),
}
_THROTTLES = 60


def devices_part(
    evidence: Evidence, verdict: RunVerdict, marks: Sequence[Mark], prefix: str
) -> tuple[dict[str, Any], list[Chart]]:
    """Return what `templates/devices.html` takes, and its charts; a reading that no tool has is named and not drawn."""
    zeros = {rank.rank: zero_ns(rank) for rank in evidence.ranks}
    slowed, throttled = _throttles(evidence.telemetry.cards, zeros)
    charts, absent = [], []
    for name, (title, unit) in _READ.items():
        lines = [
            (_label(one), samples(one.t_ns, values, _zero(zeros, one)))
            for one in evidence.telemetry.cards
            for values in [one.used_gib if name == "memory" else one.readings.get(name)]
            if values is not None and not np.isnan(values).all()
        ]
        if not lines:
            absent.append(title)
            continue
        levels = _memory_levels(evidence, verdict) if name == "memory" else ()
        charts.append(
            _chart(f"{prefix}{name.replace('_', '-')}", title, unit, lines, [*marks, *slowed], levels, prefix)
        )
    for name, (title, unit) in _HOST_READ.items():
        lines = [
            (host.host, samples(host.t_ns, host.readings[name], _zero(zeros, host)))
            for host in evidence.telemetry.hosts
            if name in host.readings
        ]
        if lines:
            charts.append(_chart(f"{prefix}{name.replace('_', '-')}", title, unit, lines, marks, (), prefix))
    part = {
        "charts": charts,
        "absent": absent,
        "tools": sorted({source for one in evidence.telemetry.cards for source in one.sources}),
        "errors": list(evidence.telemetry.errors),
        "throttled": throttled,
        "memories": [_memory_row(memory) for memory in device_memories(evidence)],
    }
    return part, charts


def _label(one: DeviceSamples) -> str:
    host, card = one.card
    return f"{host} device {card}"


def _zero(zeros: Mapping[int, int | None], seen: DeviceSamples | HostSamples) -> int:
    """Return what the sampling rank counts its times from; the time of the first sample if that is not known."""
    zero = zeros.get(seen.rank)
    return zero if zero is not None else int(seen.t_ns.min()) if len(seen.t_ns) else 0


def _chart(
    identity: str,
    title: str,
    unit: str,
    lines: Sequence[tuple[str, Spans]],
    marks: Sequence[Mark],
    levels: Sequence[Level],
    prefix: str,
) -> Chart:
    x, values = on_grid([spans for _, spans in lines])
    lows = [float(spans.values.min()) for _, spans in lines]
    highs = [float(spans.values.max()) for _, spans in lines]
    # Of clocks and use a low one is what slows a run down, of all else a high one.
    word, extreme = ("lowest", lows.index(min(lows))) if unit in ("%", "MHz") else ("highest", highs.index(max(highs)))
    return over_time(
        identity,
        title,
        x,
        lines_of([label for label, _ in lines], values, extreme, word),
        unit=unit,
        marks=[mark for mark in marks if mark.sign in ("E", "T", "W")],
        levels=levels,
        summary=f"From {min(lows):.4g} to {max(highs):.4g} {unit}; the {word} on {lines[extreme][0]}.",
        from_zero=unit in ("GiB", "W", "%"),
        group=f"{prefix}time",
    )


def _memory_levels(evidence: Evidence, verdict: RunVerdict) -> list[Level]:
    metric = verdict.metrics.get("mem")
    levels = []
    if metric is not None and metric.high is not None:
        levels.append(Level(f"bound {limit(metric.high, metric.unit)} GiB", metric.high))
    capacities = {one.total_gib for one in evidence.telemetry.cards if one.total_gib is not None}
    if len(capacities) == 1 and not levels:
        levels.append(Level(f"capacity {max(capacities):.2f} GiB", max(capacities), "published"))
    return levels


def _throttles(
    cards: Sequence[DeviceSamples], zeros: Mapping[int, int | None]
) -> tuple[list[Mark], list[dict[str, Any]]]:
    marks, rows = [], []
    for one in cards:
        zero = float(_zero(zeros, one))
        times_s = [(t_ns - zero) / 1e9 for t_ns, _ in one.throttled]
        marks += [Mark("throttled by its driver", at, None, "T", "bad") for at in times_s]
        if times_s:
            reasons = sorted({reason for _, reason in one.throttled})
            rows.append({"card": _label(one), "samples": len(times_s), "first": f"{times_s[0]:.1f}", "why": reasons})
    return marks[:: max(1, len(marks) // _THROTTLES)], rows


def _memory_row(memory: DeviceMemory) -> dict[str, Any]:
    def gib(value: float | None) -> str:
        return "not read" if value is None else f"{value:.2f}"

    return {
        "host": memory.card[0],
        "card": memory.card[1],
        "ranks": ", ".join(map(str, memory.ranks)),
        "sampled": gib(memory.sampled),
        "allocated": gib(memory.allocated),
        "reserved": gib(memory.reserved),
        "resident": gib(memory.resident),
        "capacity": gib(memory.capacity),
        "samples": memory.samples,
        "tools": ", ".join(memory.sources) or "none",
    }
