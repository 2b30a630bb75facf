"""What samplers read of devices and hosts during the run: memory, power, temperature, use and clocks."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from evidence.bundle import Evidence
from evidence.telemetry import DeviceKey, DeviceSamples, HostSamples
from evidence.verdict import RunVerdict
from reports.html.charts import Chart, Level, Mark, lines_of, over_time
from reports.html.sections.diagnosis import Culprit, outlier
from reports.html.sections.metrics import levels_of
from reports.html.sections.series import Spans, on_grid, samples, zero_ns
from reports.html.texts import text
from verdict.metrics.memory import DeviceMemory, device_memories

_READ = {
    "memory": "GiB",
    "power_w": "W",
    "temperature_c": "°C",
    "use_percent": "%",
    "core_clock_mhz": "MHz",
    "memory_clock_mhz": "MHz",
}
"""Units of what is read of a device; texts.toml has the titles."""
_HOST_READ = {"host_memory_used_gib": "GiB", "host_cpu_percent": "%", "host_temperature_c": "°C"}
_THROTTLES = 60


def devices_part(
    evidence: Evidence, verdict: RunVerdict, marks: Sequence[Mark], culprit: Culprit | None, prefix: str
) -> tuple[dict[str, Any], list[Chart]]:
    """Return what `templates/devices.html` takes, and its charts; a reading that no tool has is named and not drawn."""
    zeros = {rank.rank: zero_ns(rank) for rank in evidence.ranks}
    slowed, throttled = _throttles(evidence.telemetry.cards, zeros)
    charts, absent = [], []

    def at(lines: Sequence[tuple[DeviceKey, Spans]]) -> int | None:
        cards = [card for card, _ in lines]
        return cards.index(culprit.device) if culprit is not None and culprit.device in cards else None

    for name, unit in _READ.items():
        title = text(f"reading.{name}")
        lines = [
            (one.card, samples(one.t_ns, values, _zero(zeros, one)))
            for one in evidence.telemetry.cards
            for values in [one.used_gib if name == "memory" else one.readings.get(name)]
            if values is not None and not np.isnan(values).all()
        ]
        if not lines:
            absent.append(title)
            continue
        levels = _memory_levels(evidence, verdict) if name == "memory" else ()
        named = [(_label(*card), spans) for card, spans in lines]
        charts.append(_chart(name, title, unit, named, [*marks, *slowed], levels, at(lines), prefix))
    for name, unit in _HOST_READ.items():
        title = text(f"reading.{name}")
        hosts = [
            (host.host, samples(host.t_ns, host.readings[name], _zero(zeros, host)))
            for host in evidence.telemetry.hosts
            if name in host.readings
        ]
        if hosts:
            charts.append(_chart(name, title, unit, hosts, marks, (), None, prefix))
    part = {
        "charts": charts,
        "absent": absent,
        "tools": sorted({source for one in evidence.telemetry.cards for source in one.sources}),
        "errors": list(evidence.telemetry.errors),
        "throttled": throttled,
        "memories": [_memory_row(memory, culprit) for memory in device_memories(evidence)],
    }
    return part, charts


def _label(host: str, card: int) -> str:
    return text("label.device", host=host, card=card)


def _zero(zeros: Mapping[int, int | None], seen: DeviceSamples | HostSamples) -> int:
    """Return what the sampling rank counts its times from; the time of the first sample if that is not known."""
    zero = zeros.get(seen.rank)
    return zero if zero is not None else int(seen.t_ns.min()) if len(seen.t_ns) else 0


def _chart(
    name: str,
    title: str,
    unit: str,
    lines: Sequence[tuple[str, Spans]],
    marks: Sequence[Mark],
    levels: Sequence[Level],
    culprit: int | None,
    prefix: str,
) -> Chart:
    x, values = on_grid([spans for _, spans in lines])
    lows = [float(spans.values.min()) for _, spans in lines]
    highs = [float(spans.values.max()) for _, spans in lines]
    words = text("reading.range", low=f"{min(lows):.4g}", high=f"{max(highs):.4g}", unit=unit)
    low_is_odd = unit in ("%", "MHz")  # low use and clocks slow a run down; of all else it is a high value
    odd = outlier([float(np.median(spans.values)) for _, spans in lines], low=low_is_odd)
    if odd is not None:
        words += " " + text("reading.lowest" if low_is_odd else "reading.highest", label=lines[odd][0])
    return over_time(
        f"{prefix}{name.replace('_', '-')}",
        title,
        x,
        lines_of([label for label, _ in lines], values, culprit),
        unit=unit,
        marks=[mark for mark in marks if mark.sign in ("E", "T", "W")],
        levels=levels,
        summary=words,
        from_zero=unit in ("GiB", "W", "%"),
        group=f"{prefix}time",
    )


def _memory_levels(evidence: Evidence, verdict: RunVerdict) -> list[Level]:
    metric = verdict.metrics.get("mem")
    levels = [] if metric is None else levels_of("mem", metric.unit, metric.low, metric.high, metric.expected)
    capacities = {one.total_gib for one in evidence.telemetry.cards if one.total_gib is not None}
    if len(capacities) == 1 and not levels:
        levels.append(Level(f"{text('level.capacity')} {max(capacities):.2f} GiB", max(capacities), "published"))
    return levels


def _throttles(
    cards: Sequence[DeviceSamples], zeros: Mapping[int, int | None]
) -> tuple[list[Mark], list[dict[str, Any]]]:
    marks, rows = [], []
    for one in cards:
        zero = float(_zero(zeros, one))
        times_s = [(t_ns - zero) / 1e9 for t_ns, _ in one.throttled]
        marks += [Mark(text("mark.throttled"), at, None, "T", "bad") for at in times_s]
        if times_s:
            reasons = sorted({reason for _, reason in one.throttled})
            rows.append(
                {"card": _label(*one.card), "samples": len(times_s), "first": f"{times_s[0]:.1f}", "why": reasons}
            )
    return marks[:: max(1, len(marks) // _THROTTLES)], rows


def _memory_row(memory: DeviceMemory, culprit: Culprit | None) -> dict[str, Any]:
    def gib(value: float | None) -> str:
        return text("value.not_read") if value is None else f"{value:.2f}"

    return {
        "is_culprit": culprit is not None and culprit.device == memory.card,
        "host": memory.card[0],
        "card": memory.card[1],
        "ranks": ", ".join(map(str, memory.ranks)),
        "sampled": gib(memory.sampled),
        "allocated": gib(memory.allocated),
        "reserved": gib(memory.reserved),
        "resident": gib(memory.resident),
        "capacity": gib(memory.capacity),
        "samples": memory.samples,
        "tools": ", ".join(memory.sources) or "-",
    }
