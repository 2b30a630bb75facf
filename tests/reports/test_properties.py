"""JUnit properties hold the numbers in full, and nothing where there is no number."""

from __future__ import annotations

from reports.properties import metric_properties
from tests.reports.test_console import metric


def test_numbers_come_back_to_the_bit_and_absent_ones_are_empty() -> None:
    measured = 0.1 + 0.2
    facts = metric("p_core", "pass", measured=measured, interval=[0.29, 0.31], low=0.25)

    properties = dict(metric_properties("cpu-1x1-fp32-bs8", "p_core", facts, run="runs/x"))

    assert float(properties["measured"]) == measured
    assert [float(word) for word in properties["interval"].split()] == [0.29, 0.31]
    assert properties["expected"] == properties["high"] == ""
    assert properties["direction"] == "higher is better"
    assert (properties["cell"], properties["run"], properties["verdict"]) == ("cpu-1x1-fp32-bs8", "runs/x", "pass")


def test_every_property_that_a_release_engineer_needs_is_there() -> None:
    names = [name for name, _ in metric_properties("cell", "map", metric("map", "fail"), run="r")]

    assert len(names) == len(set(names))
    assert {"measured", "expected", "bound", "unit", "direction", "method", "source", "verdict"} <= set(names)
