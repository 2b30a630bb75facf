"""The page of a session: all cells in one table, what was held against each other, and each run's page folded in."""

from __future__ import annotations

import re
from typing import Any, Mapping, Sequence

from expected import METRICS
from reports.html.charts import Chart
from reports.html.metrics import badge
from reports.html.page import page
from reports.html.run import run_body
from reports.html.templates import render
from reports.numbers import half_width_percent, quantity
from reports.terminal.comparison import comparison_lines

_GATE = re.compile(r"(GATE: [A-Z]+)(.*)", re.DOTALL)
_GATE_KINDS = {"GATE: PASS": "good", "GATE: FAIL": "bad", "GATE: INVALID": "bad", "GATE: INCOMPLETE": "warn"}


def session_page(
    runs: Sequence[Mapping[str, Any]], *, comparisons: Sequence[Mapping[str, Any]], gate: str, command: str
) -> str:
    """The page of a session as one file.

    `runs` are the arguments of `run_page`, by name; `comparisons` what `comparison_lines` takes; `gate` is the last
    line of the session, "" where it did not gate; `command` what was asked for.
    """
    bodies = [run_body(**run, prefix=f"r{number}-") for number, run in enumerate(runs)]
    charts: list[Chart] = [chart for body in bodies for chart in body.charts]
    names = [name for name in METRICS if any(name in run["verdict"]["metrics"] for run in runs)]
    gate_word, gate_rest = _gate(gate)
    html = render(
        "session.html",
        command=command,
        gate=gate_word,
        gate_rest=gate_rest,
        gate_kind=_GATE_KINDS.get(gate_word, ""),
        names=[(name, METRICS[name].unit) for name in names],
        rows=[_row(f"r{at}-", run["verdict"], body.head, names) for at, (run, body) in enumerate(zip(runs, bodies))],
        tables=[(title, [line.text for line in lines]) for title, lines in comparison_lines(comparisons).items()],
        bodies=[(f"r{at}-", body) for at, body in enumerate(bodies)],
    )
    return page(_title(runs, gate), html, charts)


def _gate(line: str) -> tuple[str, str]:
    """The word of the gate and what it says beside it, which may be long."""
    match = _GATE.fullmatch(line)
    return (match.group(1), match.group(2).lstrip(" ,")) if match else (line[:0], line)


def _title(runs: Sequence[Mapping[str, Any]], gate: str) -> str:
    verdicts = [run["verdict"]["outcome"] for run in runs]
    counted = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    return f"{_gate(gate)[0] or 'Session'}: {counted or 'no run'}"


def _row(prefix: str, verdict: Mapping[str, Any], head: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {
        "prefix": prefix,
        "cell": head["cell"],
        "outcome": head["outcome"],
        "protocol": verdict["protocol"],
        "simulated": head["simulated"],
        "restarts": head["restarts"],
        "metrics": [_metric(verdict["metrics"].get(name)) for name in names],
    }


def _metric(metric: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if metric is None:
        return None
    measured = metric["measured"]
    return {
        "measured": quantity(measured, metric["unit"]),
        "half_width": "" if measured is None else half_width_percent(measured, metric["interval"]),
        "badge": badge(metric["verdict"]),
    }
