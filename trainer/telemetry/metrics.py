"""Everything that samplers read: unit, the range in which a number can be right, and how many numbers become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Mapping

TIME_REDUCTIONS = ("max", "mean", "last", "any")
CARD_REDUCTIONS = ("max", "mean", "last", "any")


@dataclass(frozen=True)
class Metric:
    """One quantity of a card or host.

    `over_time` says how the samples of a training become one number, `over_cards` how those of several cards do: by the
    largest, by the mean (over time weighted by the time that each sample stands for), by the last that was told, or,
    of reasons, by naming every one that there was. A number outside of `low` to `high` was read from the wrong place.
    """

    name: str
    unit: str
    over_time: str
    over_cards: str
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        assert self.over_time in TIME_REDUCTIONS, self.name
        assert self.over_cards in CARD_REDUCTIONS, self.name


CARD_METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("memory_used_gib", "GiB", "max", "max", 0, 4096),
        Metric("memory_total_gib", "GiB", "last", "max", 0, 4096),
        Metric("power_w", "W", "mean", "mean", 0, 10_000),
        Metric("temperature_c", "C", "max", "max", -50, 150),
        Metric("use_percent", "%", "mean", "mean", 0, 100),
        Metric("core_clock_mhz", "MHz", "mean", "mean", 0, 20_000),
        Metric("memory_clock_mhz", "MHz", "mean", "mean", 0, 20_000),
        Metric("throttle", "reason", "any", "any"),
        Metric("clock_reasons", "reason", "any", "any"),
    )
}
HOST_METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("host_memory_used_gib", "GiB", "max", "max", 0, 2**20),
        Metric("host_memory_total_gib", "GiB", "last", "max", 0, 2**20),
        Metric("host_cpu_percent", "%", "mean", "mean", 0, 100),
        Metric("host_load_1m", "processes", "mean", "mean", 0, 1e6),
        Metric("host_temperature_c", "C", "max", "max", -50, 150),
    )
}


def card_metrics(*names: str) -> tuple[Metric, ...]:
    """Return the declarations of a tool's metrics. Raises KeyError for a name that the table lacks."""
    return tuple(CARD_METRICS[name] for name in names)


def checked(record: Mapping[str, Any], metrics: Iterable[Metric], who: str) -> tuple[dict[str, Any], list[str]]:
    """Return a tool's record without the numbers that cannot be, and a complaint for each of those."""
    kept, complaints = dict(record), []
    for metric in metrics:
        value = record.get(metric.name)
        if value is None:
            kept.pop(metric.name, None)
        elif metric.over_time != "any" and not metric.low <= value <= metric.high:
            del kept[metric.name]
            complaints.append(
                f"{who} gave {metric.name} {value:g} {metric.unit}, which cannot be; it is not taken "
                f"(expected {metric.low:g} to {metric.high:g})"
            )
    return kept, complaints
