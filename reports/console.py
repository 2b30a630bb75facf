"""The closing table: every metric of a run against its bound, what decided, and the line that runs it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from reports.numbers import bound, half_width_percent, quantity

_COLOURS = {
    "pass": "green",
    "fail": "red",
    "inconclusive": "yellow",
    "recorded": "",
    "missing": "yellow",
    "invalid": "red",
}
_HEADINGS = ("metric", "measured", "bound", "published", "verdict")
_EXPLAINED = ("fail", "inconclusive", "missing")


@dataclass(frozen=True)
class Line:
    """A line of text and the name of its colour; no colour is an empty name."""

    text: str
    colour: str = ""


def run_lines(record: Mapping[str, Any], verdict: Mapping[str, Any], *, folder: str, again: str) -> list[Line]:
    """Return the closing lines of one run from its run.json and verdict.json.

    `folder` is the run's path as it should be shown, `again` the command that repeats the run.
    """
    lines = [Line(_title(record, verdict, folder)), Line("")]
    lines += _table(verdict["metrics"])
    explained = [
        Line(f"{name}: {metric['reason']}", _COLOURS[metric["verdict"]])
        for name, metric in verdict["metrics"].items()
        if metric["verdict"] in _EXPLAINED
    ]
    if verdict["outcome"] == "invalid":
        explained = [Line(f"invalid: {reason}", _COLOURS["invalid"]) for reason in verdict["reasons"]]
    if explained:
        lines += [Line(""), *explained]
    return [*lines, Line(""), Line(f"again   {again}")]


def _title(record: Mapping[str, Any], verdict: Mapping[str, Any], folder: str) -> str:
    cell = record["cell"]
    nodes, cards = (int(part) for part in cell["topology"].split("x"))
    ranks, hosts = nodes * cards, nodes
    shape = f"{ranks} rank{'s' * (ranks > 1)} on {hosts} host{'s' * (hosts > 1)}"
    name = f"{record['device']['name']} {cell['topology']} {cell['precision']}"
    hyper = f"bs{cell['batch_size']} lr{cell['learning_rate']:g}"
    return f"{name} {hyper} · {verdict['protocol']} · {shape} · {folder}"


def _table(metrics: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    rows = [_HEADINGS] + [_row(name, metric) for name, metric in metrics.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    colours = ["", *(_COLOURS[metric["verdict"]] for metric in metrics.values())]
    return [
        Line("   ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip(), colour)
        for row, colour in zip(rows, colours)
    ]


def _row(name: str, metric: Mapping[str, Any]) -> tuple[str, ...]:
    measured, unit = metric["measured"], metric["unit"]
    shown = quantity(measured, unit)
    if measured is not None:
        shown += half_width_percent(measured, metric["interval"])
    published = quantity(metric["expected"], unit)
    return name, shown, bound(metric["low"], metric["high"], unit), published, metric["verdict"]
