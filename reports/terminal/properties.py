"""The numbers of one metric as JUnit properties: name and text pairs under its test case."""

from __future__ import annotations

from typing import Any, Mapping

from evidence.verdict import MetricVerdict
from reports.escapes import visible
from reports.numbers import bound, in_words


def metric_properties(verdict: Mapping[str, Any], name: str, *, run: str, waiver: str = "") -> list[tuple[str, str]]:
    """Return the properties of one metric of a verdict.json; absent numbers are empty texts, never zeros.

    `run` is the run's path as it should be shown, `waiver` the one that excuses the verdict, in words. Numbers are
    written in full (repr), so that what reads the file gets back the float that was judged.
    """
    metric = verdict["metrics"][name]
    interval = metric["interval"]
    # Each change begins with its metric, except for the one that says that nothing was recorded: it is of them all.
    changed = [text for text in verdict["changed"] if text.partition(": ")[0] in (name, text)]
    values = {
        "cell": verdict["cell"]["id"],
        "metric": name,
        "verdict": metric["verdict"],
        "measured": metric["measured"],
        "expected": metric["expected"],
        "bound": bound(metric["low"], metric["high"], metric["unit"]),
        "low": metric["low"],
        "high": metric["high"],
        "interval": None if interval is None else f"{interval[0]!r} {interval[1]!r}",
        "unit": metric["unit"],
        "direction": f"{metric['better']} is better",
        "method": metric["method"],
        "source": metric["source"],
        "reason": metric["reason"],
        "changed": "; ".join(changed),
        "waiver": waiver,
        "simulated": "true" if verdict["simulated"] else "false",
        "restarts": verdict.get("restarts", 0),
        "without": ", ".join(verdict.get("without") or ()),
        "run": run,
    }
    if metric["unit"] == "images/s":
        values["workload"] = None if verdict["workload"] is None else in_words(verdict["workload"])
    return [(key, _text(value)) for key, value in values.items()]


def comparison_properties(metric: MetricVerdict, **facts: Any) -> list[tuple[str, str]]:
    """Return the properties of a verdict on runs that were held against each other, `facts` first: cell, run, ..."""
    interval = metric.interval
    values = {
        **facts,
        "metric": metric.metric,
        "verdict": metric.verdict,
        "measured": metric.measured,
        "expected": metric.expected,
        "bound": bound(metric.low, metric.high, metric.unit),
        "low": metric.low,
        "high": metric.high,
        "interval": None if interval is None else f"{interval.low!r} {interval.high!r}",
        "unit": metric.unit,
        "direction": f"{metric.better} is better",
        "method": metric.method,
        "source": metric.source,
        "reason": metric.reason,
    }
    return [(key, _text(value)) for key, value in values.items()]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else visible(str(value))
