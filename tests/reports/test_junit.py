"""The JUnit file of a run is one that Jenkins' schema knows, whatever the verdict and whatever the words."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from reports.escapes import as_it_was
from reports.junit import junit_xml
from tests.reports.test_console import metric, verdict_of

JENKINS = xmlschema.XMLSchema(str(Path(__file__).parent / "jenkins" / "junit-10.xsd"))
"""As it stands in pytest's own tests, which have it from Jenkins' xUnit plugin."""

VERDICTS = ("pass", "fail", "inconclusive", "recorded", "missing", "invalid")


def written(*metrics: dict[str, Any], run: str = "runs/x", waived: Any = None, **facts: Any) -> Any:
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
    root = written(metric("map", "invalid"), outcome="invalid", reasons=["a rank died", "the seal is broken"])

    reasons = [one.get("value") for one in root.iter("property") if one.get("name") == "reason"]
    assert reasons == ["a rank died", "the seal is broken"]


@given(st.text(st.characters()), st.sampled_from(VERDICTS))
def test_any_text_is_written_so_that_the_schema_holds_and_can_be_had_back(text: str, verdict: str) -> None:
    root = written(metric("p_core", verdict, reason=text), run=text, reasons=[text])

    properties = [one.get("value", "") for one in root.iter("property") if one.get("name") in ("run", "reason")]
    messages = [one.get("message", "") for one in root.iter() if one.get("message") is not None]
    assert [as_it_was(one) for one in properties] == [text, text]
    assert [as_it_was(one) for one in messages] == ([] if verdict == "pass" else [f"{verdict}: {text}"])
