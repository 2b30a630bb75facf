"""Verdicts as JUnit: the properties of a test case, the session's file, and a run's, which Jenkins validates."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Mapping, Sequence

from evidence.text import visible
from evidence.verdict import MetricVerdict, RunVerdict, Verdict
from verdict.wording import bounds, margin, measured, of_published

_ELEMENTS = {
    Verdict.FAIL: "failure",
    Verdict.INCONCLUSIVE: "failure",
    Verdict.INVALID: "error",
    Verdict.RECORDED: "skipped",
    Verdict.MISSING: "skipped",
}
"""The element in the test case of a metric that does not pass, as in the session's file."""


_BOOT = "boot"


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
        _say(case, metric_properties(verdict, name, run=run, waiver=waiver))
    return _document(root)


def boot_property(cell: str, run: str, seconds: float) -> tuple[str, str]:
    """Return the property of the test case in which a cell was booted, or its boot waited for; `run` is its folder."""
    return _BOOT, f"{cell} {seconds:.3f} {run}"


def completed(text: str, reports: Mapping[str, str]) -> str:
    """Return pytest's own JUnit file with what its readers ignore or do not find in it.

    Each case's properties stand in its system-out too, which GitLab, Jenkins and most viewers show. The time of a boot
    is taken from the test that happened to come first and given to a case of its own, `boot[CELL]`. `reports` has the
    page of each run by its folder: cases about the run name it, also in the form that GitLab and Jenkins make a link
    of. Raises ElementTree.ParseError if `text` is no XML.
    """
    root = ElementTree.fromstring(text)  # noqa: S314 - the session's own file
    for suite in root.iter("testsuite"):
        boots: dict[tuple[str, str], float] = {}
        for case in suite.findall("testcase"):
            values = [(one.get("name", ""), one.get("value", "")) for one in case.iter("property")]
            for cell, took, run in (value.split(" ", 2) for name, value in values if name == _BOOT):
                boots[cell, run] = max(float(took), boots.get((cell, run), 0.0))
                case.set("time", f"{max(0.0, float(case.get('time', 0)) - float(took)):.3f}")
            said = [one for one in values if one[0] != _BOOT]
            _say(case, [*said, *_links(reports.get(dict(said).get("run", ""), ""))])
        for at, ((cell, run), seconds) in enumerate(boots.items()):
            case = ElementTree.Element(
                "testcase", {"classname": "suite", "name": f"boot[{cell}]", "time": f"{seconds:.3f}"}
            )
            _say(case, [("cell", cell), ("run", run), *_links(reports.get(run, ""))])
            suite.insert(at, case)
        suite.set("tests", str(int(suite.get("tests", 0)) + len(boots)))
    return _document(root)


def _links(report: str) -> list[tuple[str, str]]:
    """Return the lines about a run's page, the second one as https://docs.gitlab.com/ci/testing/unit_test_reports/."""
    return [("report", report), ("link", f"[[ATTACHMENT|{report}]]")] if report else []


def _say(case: ElementTree.Element, values: Sequence[tuple[str, str]]) -> None:
    """Put names and values into a case's system-out, without empty ones, below what is there already."""
    if not values:
        return
    out = case.find("system-out")
    if out is None:
        out = ElementTree.SubElement(case, "system-out")
    out.text = (out.text or "") + "".join(f"{key}: {value}\n" for key, value in values if value)


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
        "shown": measured(metric.measured, metric.interval, metric.unit),
        "measured": metric.measured,
        "expected": metric.expected,
        "of_published": of_published(metric),
        "bound": bounds(metric.low, metric.high, metric.unit),
        "margin": margin(metric),
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
