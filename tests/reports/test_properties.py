"""JUnit properties hold the numbers in full, and nothing where there is no number."""

from __future__ import annotations

from reports.terminal.properties import metric_properties
from tests.reports.test_console import metric, verdict_of


def test_numbers_come_back_to_the_bit_and_absent_ones_are_empty() -> None:
    measured = 0.1 + 0.2
    facts = metric("p_core", "pass", measured=measured, interval=[0.29, 0.31], low=0.25)

    properties = dict(metric_properties(verdict_of(facts), "p_core", run="runs/x"))

    assert float(properties["measured"]) == measured
    assert [float(word) for word in properties["interval"].split()] == [0.29, 0.31]
    assert properties["expected"] == properties["high"] == ""
    assert properties["direction"] == "higher is better"
    assert (properties["cell"], properties["run"], properties["verdict"]) == ("r300-1x8-fp32-bs16", "runs/x", "pass")


def test_every_property_that_a_release_engineer_needs_is_there() -> None:
    names = [name for name, _ in metric_properties(verdict_of(metric("map", "fail")), "map", run="r")]

    assert len(names) == len(set(names))
    assert {"measured", "expected", "bound", "unit", "direction", "method", "source", "verdict"} <= set(names)


def test_a_change_since_the_run_stands_with_its_metric() -> None:
    changes = ["map: published 0.3 when the run was made; now unpublished", "mem: unpublished when the run was made"]
    verdict = verdict_of(metric("map", "recorded"), metric("p_core", "recorded"), changed=changes)

    properties = {name: dict(metric_properties(verdict, name, run="r")) for name in ("map", "p_core")}

    assert properties["map"]["changed"] == changes[0]
    assert properties["p_core"]["changed"] == ""


def test_that_nothing_was_recorded_stands_with_every_metric() -> None:
    verdict = verdict_of(metric("map", "recorded"), changed=["run.json does not record it"])

    assert dict(metric_properties(verdict, "map", run="r"))["changed"] == "run.json does not record it"


def test_a_waiver_and_a_simulated_device_are_told() -> None:
    facts = metric("map", "fail")

    plain = dict(metric_properties(verdict_of(facts), "map", run="r"))
    marked = dict(metric_properties(verdict_of(facts, simulated=True), "map", run="r", waiver="waived until then"))

    assert (plain["waiver"], plain["simulated"]) == ("", "false")
    assert (marked["waiver"], marked["simulated"]) == ("waived until then", "true")


def test_restarts_are_told() -> None:
    facts = metric("map", "pass")

    assert dict(metric_properties(verdict_of(facts), "map", run="r"))["restarts"] == "0"
    assert dict(metric_properties(verdict_of(facts, restarts=2), "map", run="r"))["restarts"] == "2"


def test_what_the_steps_worked_on_stands_beside_every_rate_and_nowhere_else() -> None:
    seen = {"images": 8, "pixels_per_image": 9216.0, "proposals_per_image": 300.0, "positives_per_image": 7.5}
    verdict = verdict_of(
        metric("p_core", "recorded", unit="images/s"),
        metric("map", "recorded", unit="0..1"),
        workload={**seen, "first_loss": 1.5, "last_loss": None},
    )

    of_the_rate = dict(metric_properties(verdict, "p_core", run="r"))

    assert of_the_rate["workload"] == ("an image: 9216 padded pixels, 300 proposals, 7.5 positives; loss 1.5 to nan")
    assert "workload" not in dict(metric_properties(verdict, "map", run="r"))
