"""The columns of a vendor's table."""

from __future__ import annotations

import pytest

from expected import METRICS


def test_the_metrics_come_in_the_order_of_the_table() -> None:
    assert list(METRICS) == ["e2e_time", "p_whole", "p_train", "p_core", "map", "mem"]
    assert [metric.name for metric in METRICS.values()] == list(METRICS)


@pytest.mark.parametrize(
    ("name", "unit", "better"),
    [
        ("e2e_time", "s", "lower"),
        ("p_whole", "images/s", "higher"),
        ("p_train", "images/s", "higher"),
        ("p_core", "images/s", "higher"),
        ("map", "0..1", "higher"),
        ("mem", "GiB", "lower"),
    ],
)
def test_a_metric_has_its_unit_and_its_direction(name: str, unit: str, better: str) -> None:
    assert (METRICS[name].unit, METRICS[name].better) == (unit, better)
