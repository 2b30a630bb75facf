"""Verdicts as JUnit: the properties of a test case, and the file of one run in the form that Jenkins validates."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Mapping

from evidence.text import visible
from evidence.verdict import MetricVerdict, RunVerdict, Verdict
from verdict.wording import bounds

_ELEMENTS = {
    Verdict.FAIL: "failure",
    Verdict.INCONCLUSIVE: "failure",
    Verdict.INVALID: "error",
    Verdict.RECORDED: "skipped",
    Verdict.MISSING: "skipped",
}
"""The element in the test case of a metric that does not pass, as in the session's file."""


def metric_properties(verdict: RunVerdict, name: str, *, run: str, waiver: str = "") -> list[tuple[str, str]]:
    """Return the properties of one metric's test case; absent numbers are empty texts, never zeros.

    `run` is the run's path as it should be shown, `waiver` the one that excuses the verdict, in words. Numbers are
    written in full (repr), so that a reader of the file gets back the float that was judged.
    """
    metric = verdict.metrics[name]
    # Each change begins with its metric, except the one about all metrics: that nothing was recorded.
    changed = [text for text in verdict.changed if text.partition(": ")[0] in (name, text)]
    values = {
        "cell": verdict.cell.id,
        **_numbers(metric),
        "changed": "; ".join(changed),
        "waiver": waiver,
        "simulated": verdict.simulated,
        "restarts": verdict.restarts,
        "without": ", ".join(verdict.without),
        "run": run,
    }
    if metric.unit == "images/s":
        values["workload"] = verdict.workload
    return text_properties(**values)


def comparison_properties(metric: MetricVerdict, **facts: object) -> list[tuple[str, str]]:
    """Return the properties of a verdict on runs that were compared, `facts` (cell, run, ...) first."""
    return text_properties(**facts, **_numbers(metric))


def text_properties(**facts: object) -> list[tuple[str, str]]:
    """Return facts as properties: texts escaped, numbers in full, None as an empty text."""
    return [(key, _text(value)) for key, value in facts.items()]


def junit_xml(verdict: RunVerdict, *, run: str, waived: Mapping[str, str]) -> str:
    """Return a run's verdict as JUnit: a test suite for the cell, a test case for each metric.

    `run` is the run's folder as it should be shown, `waived` has the waivers that excuse a metric, in words. The
    numbers stand in each case's system-out: the schema (junit-10.xsd of Jenkins' xUnit plugin) allows properties of
    suites only.
    """
    # A waived metric is no failure, and no pass either.
    elements = {
        name: "skipped" if waived.get(name) else _ELEMENTS.get(metric.verdict, "")
        for name, metric in verdict.metrics.items()
    }
    found = list(elements.values())
    root, suite = _root(verdict.cell.id, len(found), *map(found.count, ("failure", "error", "skipped")))
    facts = (
        ("run", run),
        ("protocol", verdict.protocol),
        ("outcome", verdict.outcome),
        ("simulated", verdict.simulated),
        ("restarts", verdict.restarts),
        ("without", ", ".join(verdict.without)),
        *(("reason", reason) for reason in verdict.reasons),
        *(("changed", change) for change in verdict.changed),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in facts:
        ElementTree.SubElement(properties, "property", {"name": name, "value": _text(value)})
    for name, metric in verdict.metrics.items():
        case = ElementTree.SubElement(suite, "testcase", {"classname": visible(verdict.cell.id), "name": name})
        waiver = waived.get(name, "")
        if elements[name]:
            said = f"{metric.verdict}: {visible(metric.reason)}"
            message = f"{visible(waiver)}; {said}" if waiver else said
            ElementTree.SubElement(case, elements[name], {"type": metric.verdict.value, "message": message})
        numbers = metric_properties(verdict, name, run=run, waiver=waiver)
        ElementTree.SubElement(case, "system-out").text = "".join(f"{key}: {value}\n" for key, value in numbers)
    return _document(root)


def preflight_xml(message: str) -> str:
    """Return the JUnit file of a session that was refused before it began: the test case `preflight` has the error."""
    root, suite = _root("accelerator-conformance", tests=1, failures=0, errors=1, skipped=0)
    case = ElementTree.SubElement(suite, "testcase", {"classname": "suite", "name": "preflight", "time": "0"})
    said = "\n".join(map(visible, message.splitlines()))
    ElementTree.SubElement(case, "error", {"type": "usage", "message": said}).text = said
    return _document(root)


def _root(
    name: str, tests: int, failures: int, errors: int, skipped: int
) -> tuple[ElementTree.Element, ElementTree.Element]:
    counts = {"tests": str(tests), "failures": str(failures), "errors": str(errors)}
    root = ElementTree.Element("testsuites", {"name": "accelerator-conformance", **counts})
    return root, ElementTree.SubElement(root, "testsuite", {"name": visible(name), **counts, "skipped": str(skipped)})


def _document(root: ElementTree.Element) -> str:
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _numbers(metric: MetricVerdict) -> dict[str, object]:
    interval = metric.interval
    return {
        "metric": metric.metric,
        "verdict": metric.verdict,
        "measured": metric.measured,
        "expected": metric.expected,
        "bound": bounds(metric.low, metric.high, metric.unit),
        "low": metric.low,
        "high": metric.high,
        "interval": None if interval is None else f"{interval.low!r} {interval.high!r}",
        "unit": metric.unit,
        "direction": f"{metric.better} is better",
        "method": metric.method,
        "source": metric.source,
        "reason": metric.reason,
    }


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else visible(str(value))
