"""The numbers of one metric as JUnit properties: name and text pairs under its test case."""

from __future__ import annotations

from typing import Any, Mapping

from reports.numbers import bound


def metric_properties(cell_id: str, name: str, metric: Mapping[str, Any], *, run: str) -> list[tuple[str, str]]:
    """Return the properties of one metric of a verdict.json; absent numbers are empty texts, never zeros.

    Numbers are written in full (repr), so that what reads the file gets back the float that was judged.
    """
    interval = metric["interval"]
    values = {
        "cell": cell_id,
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
        "run": run,
    }
    return [(key, _text(value)) for key, value in values.items()]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
