"""The readings of samplers: those of a tool by name, and the check that a number can be right."""

from __future__ import annotations

from typing import Any, Iterable, Mapping

from evidence.telemetry import CARD_READINGS as CARD_METRICS
from evidence.telemetry import HOST_READINGS as HOST_METRICS
from evidence.telemetry import Reading as Metric

__all__ = ["CARD_METRICS", "HOST_METRICS", "Metric", "card_metrics", "checked"]


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
