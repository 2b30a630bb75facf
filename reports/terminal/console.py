"""The closing table: every metric of a run against its bound, what decided, and the line that runs it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from expected.site import ACCEPTED_IN
from reports.numbers import bound, half_width_percent, in_words, quantity
from reports.optimizations import switched_off

COLOURS = {
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


def run_lines(
    verdict: Mapping[str, Any],
    *,
    name: str,
    folder: str,
    commands: Mapping[str, str],
    notes: Sequence[str] = (),
    serial: str = "",
    more: Sequence[Line] = (),
) -> list[Line]:
    """Return the closing lines of one run from its verdict.json.

    `name` is the device's, `folder` the run's path as it should be shown, `commands` what can be done next, by a short
    word for it; `notes`, and `more` lines, come before them. `serial` is the card's, of a run that was to use one card.
    """
    lines = [Line(_title(name, verdict, folder, serial)), Line("")]
    lines += _table(verdict["metrics"])
    if verdict["workload"] is not None:
        lines += [Line(""), Line(f"workload  {in_words(verdict['workload'])}")]
    explained = [
        Line(f"{name}: {metric['reason']}", COLOURS[metric["verdict"]])
        for name, metric in verdict["metrics"].items()
        if metric["verdict"] in _EXPLAINED
    ]
    if verdict["outcome"] == "invalid":
        explained = [Line(f"invalid: {reason}", COLOURS["invalid"]) for reason in verdict["reasons"]]
    if explained:
        lines += [Line(""), *explained]
    said = [f"changed since the run: {change}" for change in verdict["changed"]] + list(notes)
    if said:
        lines += [Line(""), *(Line(text, "yellow") for text in said)]
    if more:
        lines += [Line(""), *more]
    return [*lines, Line(""), *(Line(f"{word:<8}{command}") for word, command in commands.items())]


def _title(device: str, verdict: Mapping[str, Any], folder: str, serial: str) -> str:
    cell = verdict["cell"]
    nodes, cards = (int(part) for part in cell["topology"].split("x"))
    ranks, hosts = nodes * cards, nodes
    shape = f"{ranks} rank{'s' * (ranks > 1)} on {hosts} host{'s' * (hosts > 1)}"
    if "card" in cell:
        shape += f" · card {cell['card']}" + (f" ({serial})" if serial else "")
    name = f"{device} {cell['topology']} {cell['precision']}"
    hyper = f"bs{cell['batch_size']} lr{cell['learning_rate']:g}"
    if verdict.get("simulated"):
        hyper += " · simulated"
    if verdict.get("without"):
        hyper += f" · {switched_off(verdict)}"
    if verdict.get("restarts"):
        hyper += f" · restarted {verdict['restarts']}x"
    return f"{name} {hyper} · {verdict['protocol']} · {shape} · {folder}"


def _table(metrics: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    rows = [_HEADINGS] + [_row(name, metric) for name, metric in metrics.items()]
    return aligned(rows, ["", *(COLOURS[metric["verdict"]] for metric in metrics.values())])


def aligned(rows: Sequence[Sequence[str]], colours: Sequence[str]) -> list[Line]:
    """Return rows of texts, the headings first, as lines with their columns below each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
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
    if metric["source"].startswith(ACCEPTED_IN):
        published += " (accepted)"
    return name, shown, bound(metric["low"], metric["high"], unit), published, metric["verdict"]
