"""JUnit: the properties hold the numbers in full, and the file of a run fits Jenkins' schema whatever the words."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from evidence.text import as_it_was
from evidence.verdict import MetricVerdict, Verdict, Workload
from reports.junit import boot_property, completed, junit_xml, metric_properties
from tests.reports.test_console import metric, verdict_of

JENKINS = xmlschema.XMLSchema(str(Path(__file__).parent / "jenkins" / "junit-10.xsd"))
"""As it stands in pytest's own tests, which have it from Jenkins' xUnit plugin."""

VERDICTS = tuple(one.value for one in Verdict)


def written(*metrics: MetricVerdict, run: str = "runs/x", waived: Any = None, **facts: Any) -> Any:
    text = junit_xml(verdict_of(*metrics, **facts), run=run, waived=waived or {})
    JENKINS.validate(text)
    return ElementTree.fromstring(text)


@pytest.mark.parametrize(
    ("verdict", "element"),
    [
        ("pass", None),
        ("fail", "failure"),
        ("inconclusive", "failure"),
        ("recorded", "skipped"),
        ("missing", "skipped"),
        ("invalid", "error"),
    ],
)
def test_a_verdict_is_what_it_is_in_the_sessions_file(verdict: str, element: str | None) -> None:
    root = written(metric("p_core", verdict, reason="why"))

    (case,) = root.iter("testcase")
    found = [child for child in case if child.tag != "system-out"]
    assert (case.get("name"), [child.tag for child in found]) == ("p_core", [element] if element else [])
    assert [child.get("message") for child in found] == ([f"{verdict}: why"] if element else [])


def test_the_counts_are_those_of_the_cases() -> None:
    root = written(*(metric(f"m{number}", verdict) for number, verdict in enumerate(VERDICTS)))

    (suite,) = root.iter("testsuite")
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "6", "failures": "2", "errors": "1", "skipped": "2"}


def test_a_waived_metric_is_skipped_and_says_what_it_would_have_been() -> None:
    root = written(metric("mem", "fail", reason="too big"), waived={"mem": "waived until 2027-01-01 (OPS-7)"})

    (case,) = root.iter("testcase")
    assert [child.tag for child in case] == ["skipped", "system-out"]
    assert case[0].get("message") == "waived until 2027-01-01 (OPS-7); fail: too big"


def test_the_numbers_stand_in_the_cases_output_in_full() -> None:
    root = written(metric("p_core", "pass", measured=0.1 + 0.2, interval=[0.29, 0.31]))

    (output,) = root.iter("system-out")
    told = dict(line.split(": ", 1) for line in (output.text or "").splitlines())
    assert float(told["measured"]) == 0.1 + 0.2
    assert told["interval"] == "0.29 0.31"


def test_what_makes_a_run_invalid_stands_among_the_properties_of_its_suite() -> None:
    root = written(metric("map", "invalid"), outcome="invalid", reasons=("a rank died", "the seal is broken"))

    reasons = [one.get("value") for one in root.iter("property") if one.get("name") == "reason"]
    assert reasons == ["a rank died", "the seal is broken"]


@given(st.text(st.characters()), st.sampled_from(VERDICTS))
def test_any_text_is_written_so_that_the_schema_holds_and_can_be_had_back(text: str, verdict: str) -> None:
    root = written(metric("p_core", verdict, reason=text), run=text, reasons=(text,))

    properties = [one.get("value", "") for one in root.iter("property") if one.get("name") in ("run", "reason")]
    messages = [one.get("message", "") for one in root.iter() if one.get("message") is not None]
    assert [as_it_was(one) for one in properties] == [text, text]
    assert [as_it_was(one) for one in messages] == ([] if verdict == "pass" else [f"{verdict}: {text}"])


def test_numbers_come_back_to_the_bit_and_absent_ones_are_empty() -> None:
    measured = 0.1 + 0.2
    facts = metric("p_core", "pass", measured=measured, interval=[0.29, 0.31], low=0.25)

    properties = dict(metric_properties(verdict_of(facts), "p_core", run="runs/x"))

    assert float(properties["measured"]) == measured
    assert [float(word) for word in properties["interval"].split()] == [0.29, 0.31]
    assert properties["expected"] == properties["high"] == ""
    assert properties["direction"] == "higher is better"
    assert (properties["cell"], properties["run"], properties["verdict"]) == ("r300-1x8-fp32-bs16", "runs/x", "pass")


def test_a_change_since_the_run_stands_with_its_metric() -> None:
    changes = ("map: published 0.3 when the run was made; now unpublished", "mem: unpublished when the run was made")
    verdict = verdict_of(metric("map", "recorded"), metric("p_core", "recorded"), changed=changes)

    properties = {name: dict(metric_properties(verdict, name, run="r")) for name in ("map", "p_core")}

    assert properties["map"]["changed"] == changes[0]
    assert properties["p_core"]["changed"] == ""


def test_that_nothing_was_recorded_stands_with_every_metric() -> None:
    verdict = verdict_of(metric("map", "recorded"), changed=("run.json does not record it",))

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
    verdict = verdict_of(
        metric("p_core", "recorded", unit="images/s"),
        metric("map", "recorded", unit="0..1"),
        workload=Workload(8, 9216.0, 300.0, 7.5, 1.5, math.nan),
    )

    of_the_rate = dict(metric_properties(verdict, "p_core", run="r"))

    assert of_the_rate["workload"] == ("an image: 9216 padded pixels, 300 proposals, 7.5 positives; loss 1.5 to nan")
    assert "workload" not in dict(metric_properties(verdict, "map", run="r"))


def of_pytest(*cases: str, tests: int = 2) -> str:
    """A session's file as pytest writes it."""
    return f'<testsuites><testsuite tests="{tests}" time="20.0">{"".join(cases)}</testsuite></testsuites>'


def case_of(name: str, time: str = "17.5", inside: str = "", **properties: str) -> str:
    values = "".join(f'<property name="{key}" value="{value}"/>' for key, value in properties.items())
    inside = f"<properties>{values}</properties>{inside}"
    return f'<testcase classname="suite.x" name="{name}" time="{time}">{inside}</testcase>'


def test_the_properties_of_a_case_are_in_its_output_too() -> None:
    text = of_pytest(case_of("test_p_core", measured="199.5", low="", verdict="pass", run="runs/x"))

    (case,) = ElementTree.fromstring(completed(text, {"runs/x": "runs/x/report.html"})).iter("testcase")

    assert case.findtext("system-out", "").splitlines() == [
        "measured: 199.5",
        "verdict: pass",
        "run: runs/x",
        "report: runs/x/report.html",
        "link: [[ATTACHMENT|runs/x/report.html]]",
    ]
    assert case.find("properties") is not None
    assert case.get("time") == "17.5"


def test_what_a_test_printed_stays_in_front() -> None:
    text = of_pytest(case_of("t", inside="<failure/><system-out>printed\n</system-out>", measured="1"))

    (case,) = ElementTree.fromstring(completed(text, {})).iter("testcase")

    assert case.findtext("system-out") == "printed\nmeasured: 1\n"


def test_the_time_of_a_boot_is_that_of_a_case_of_its_own() -> None:
    name, value = boot_property("r300-1x8-fp32-bs16", "runs/with a space", 17.25)
    first, other = case_of("test_a", **{name: value}, cell="c"), case_of("test_b", "0.010", cell="c")

    suite = ElementTree.fromstring(completed(of_pytest(first, other), {}))[0]

    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == ["boot[r300-1x8-fp32-bs16]", "test_a", "test_b"]
    assert [case.get("time") for case in cases.values()] == ["17.250", "0.250", "0.010"]
    assert suite.get("tests") == "3"
    assert "run: runs/with a space\n" in cases["boot[r300-1x8-fp32-bs16]"].findtext("system-out", "")
    assert cases["test_a"].findtext("system-out") == "cell: c\n"


def test_workers_that_waited_for_one_boot_have_one_case() -> None:
    waits = [case_of(f"t{n}", "9.0", boot=boot_property("c", "runs/x", 4.0 + n)[1]) for n in range(2)]

    cases = list(ElementTree.fromstring(completed(of_pytest(*waits), {})).iter("testcase"))

    assert [(case.get("name"), case.get("time")) for case in cases] == [
        ("boot[c]", "5.000"),
        ("t0", "5.000"),
        ("t1", "4.000"),
    ]


def test_a_file_without_properties_is_left_as_it_is() -> None:
    text = of_pytest('<testcase classname="a" name="b" time="1.0"><failure message="m">why</failure></testcase>')

    assert ElementTree.canonicalize(completed(text, {})) == ElementTree.canonicalize(text)


def test_a_metric_is_shown_as_in_the_closing_table() -> None:
    values = dict(
        metric_properties(
            verdict_of(metric("p_core", "pass", measured=199.5, interval=[198.5, 200.5], expected=199.0, low=189.05)),
            "p_core",
            run="runs/x",
        )
    )

    shown = [values[name] for name in ("shown", "of_published", "bound", "margin", "measured")]
    assert shown == ["199.5 images/s ± 0.5 %", "100.3 %", ">= 189.05 images/s", "5.5 % inside", "199.5"]
