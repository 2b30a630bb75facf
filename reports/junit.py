"""The verdict of a run as a JUnit file of its own, in the form that Jenkins' validating readers insist on."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any, Mapping, Sequence

from reports.escapes import visible
from reports.terminal.properties import metric_properties

_ELEMENTS = {
    "fail": "failure",
    "inconclusive": "failure",
    "invalid": "error",
    "recorded": "skipped",
    "missing": "skipped",
}
"""What stands in the test case of a metric that does not pass, as in the session's file."""


def junit_xml(verdict: Mapping[str, Any], *, run: str, waived: Mapping[str, str]) -> str:
    """Return a run's verdict.json as JUnit: a test suite for the cell, a test case for each metric.

    `run` is the run's folder as it should be shown, `waived` has the waivers that excuse a metric, in words. The
    numbers stand in each case's system-out: the schema (junit-10.xsd of Jenkins' xUnit plugin) knows properties of
    suites only.
    """
    metrics: Mapping[str, Mapping[str, Any]] = verdict["metrics"]
    elements = [_ELEMENTS.get(_judged(metric, waived.get(name, "")), "") for name, metric in metrics.items()]
    counts = {
        "tests": str(len(metrics)),
        "failures": str(elements.count("failure")),
        "errors": str(elements.count("error")),
    }
    root = ElementTree.Element("testsuites", {"name": "accelerator-conformance", **counts})
    cell = verdict["cell"]["id"]
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": visible(cell), **counts, "skipped": str(elements.count("skipped"))}
    )
    _properties(suite, verdict, run)
    for (name, metric), element in zip(metrics.items(), elements):
        case = ElementTree.SubElement(suite, "testcase", {"classname": visible(cell), "name": name})
        waiver = waived.get(name, "")
        if element:
            said = visible(f"{metric['verdict']}: {metric['reason']}")
            message = f"{visible(waiver)}; {said}" if waiver else said
            ElementTree.SubElement(case, element, {"type": metric["verdict"], "message": message})
        told = metric_properties(verdict, name, run=run, waiver=waiver)
        ElementTree.SubElement(case, "system-out").text = "".join(f"{key}: {value}\n" for key, value in told)
    return _document(root)


def preflight_xml(message: str) -> str:
    """Return the JUnit file of a session that ended before it began: the test case `preflight` says why."""
    counts = {"tests": "1", "failures": "0", "errors": "1"}
    root = ElementTree.Element("testsuites", {"name": "accelerator-conformance", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "accelerator-conformance", **counts, "skipped": "0"})
    case = ElementTree.SubElement(suite, "testcase", {"classname": "suite", "name": "preflight", "time": "0"})
    said = "\n".join(map(visible, message.splitlines()))
    ElementTree.SubElement(case, "error", {"type": "usage", "message": said}).text = said
    return _document(root)


def _document(root: ElementTree.Element) -> str:
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _judged(metric: Mapping[str, Any], waiver: str) -> str:
    """Return the verdict that counts: what is waived is no failure, and no pass either."""
    return "recorded" if waiver else str(metric["verdict"])


def _properties(suite: ElementTree.Element, verdict: Mapping[str, Any], run: str) -> None:
    facts: Sequence[tuple[str, Any]] = (
        ("run", run),
        ("protocol", verdict["protocol"]),
        ("outcome", verdict["outcome"]),
        ("simulated", str(verdict["simulated"]).lower()),
        ("restarts", verdict.get("restarts", 0)),
        ("without", ", ".join(verdict.get("without") or ())),
        *(("reason", reason) for reason in verdict["reasons"]),
        *(("changed", change) for change in verdict["changed"]),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in facts:
        ElementTree.SubElement(properties, "property", {"name": name, "value": visible(str(value))})
