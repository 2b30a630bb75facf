"""The OpenMetrics file is read by prometheus_client's parsers, and holds the run's numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as prometheus_families

from evidence.bundle import read_run
from evidence.verdict import MetricVerdict, RunVerdict
from expected import load_devices
from reports.openmetrics import FAMILIES, PREFIX, openmetrics
from tests.support import ROOT
from verdict.judge import judge
from verdict.lookup import find_cell

RUN = "20261123T101200Z-virtual-1x2-fp32"
NUMBERS = {"running": 1.0, "elapsed_seconds": 12.5, "left_seconds": None, "epoch": 3, "step": 40, "loss": 0.25}


@pytest.fixture(scope="module")
def verdict() -> RunVerdict:
    evidence = read_run(ROOT / "tests" / "stored" / "virtual-slow")
    return replace(judge(evidence, *find_cell(evidence, load_devices())).verdict, provisional=True)


def samples(text: str, parser: Any = openmetrics_families) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for family in parser(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


@pytest.mark.parametrize("parser", [openmetrics_families, prometheus_families], ids=["openmetrics", "prometheus"])
def test_both_formats_read_the_numbers_and_bounds(parser: Any, verdict: RunVerdict) -> None:
    found = samples(openmetrics(verdict, RUN, NUMBERS), parser)

    (p_core,) = (one for one in found["conformance_measured"] if one.labels["metric"] == "p_core")
    metric = verdict.metrics["p_core"]
    assert p_core.value == metric.measured
    assert p_core.labels == {"cell": "virtual-1x2-fp32-bs2", "metric": "p_core", "unit": "images/s"}
    assert metric.low in [one.value for one in found["conformance_bound_low"]]
    assert [one.value for one in found["conformance_epoch"]] == [3]
    assert "conformance_left_seconds" not in found


def test_the_verdict_is_the_one_of_six_that_is_1(verdict: RunVerdict) -> None:
    found = samples(openmetrics(verdict, RUN, {}))

    of_p_core = {
        one.labels["verdict"]: one.value for one in found["conformance_verdict"] if one.labels["metric"] == "p_core"
    }
    assert len(of_p_core) == 6
    assert [word for word, value in of_p_core.items() if value == 1] == ["fail"]


def test_a_run_that_goes_on_is_running_and_not_what_it_may_become(verdict: RunVerdict) -> None:
    before, after = (samples(openmetrics(one, RUN, {}))["conformance_run_info"][0].labels for one in _both(verdict))

    assert (before["outcome"], after["outcome"]) == ("running", "fail")
    assert before["run"] == RUN


def _both(verdict: RunVerdict) -> tuple[RunVerdict, RunVerdict]:
    return verdict, replace(verdict, provisional=False)


def test_every_family_has_its_help_and_only_gauges_without_time_stamps(verdict: RunVerdict) -> None:
    """node_exporter refuses time stamps, and its format has no type "info" or "stateset"."""
    text = openmetrics(verdict, RUN, {**NUMBERS, "left_seconds": 60.0, "images_per_second": 38.5})

    families = list(openmetrics_families(text))
    assert {family.name for family in families} == {f"{PREFIX}_{name}" for name in FAMILIES}
    assert {family.type for family in families} == {"gauge"}
    assert all(family.documentation for family in families)
    assert all(sample.timestamp is None for family in families for sample in family.samples)
    assert text.endswith("\n# EOF\n")


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "昆仑芯", "a b\\"])
def test_names_of_any_kind_come_back_as_they_were(name: str, verdict: RunVerdict) -> None:
    assert samples(openmetrics(verdict, name, {}))["conformance_run_info"][0].labels["run"] == name


def test_what_is_no_number_is_left_out(verdict: RunVerdict) -> None:
    broken: MetricVerdict = replace(verdict.metrics["p_core"], measured=float("inf"))

    found = samples(openmetrics(replace(verdict, metrics={"p_core": broken}), RUN, {"loss": float("nan")}))

    assert "conformance_measured" not in found
    assert "conformance_loss" not in found
