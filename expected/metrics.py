"""The columns of a vendor's table: name, unit and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One column: `unit` as it is written in files and reports, `better` is "lower" or "higher"."""

    name: str
    unit: str
    better: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("e2e_time", "s", "lower"),
        Metric("p_whole", "images/s", "higher"),
        Metric("p_train", "images/s", "higher"),
        Metric("p_core", "images/s", "higher"),
        Metric("map", "0..1", "higher"),
        Metric("mem", "GiB", "lower"),
    )
}
"""The six metrics by name, in the order of the table's columns."""
