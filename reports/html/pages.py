"""The page of a run, the verdict first, and the page of a session with all its runs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from markupsafe import Markup

from evidence.verdict import Comparison, MetricVerdict, RunVerdict, Verdict
from expected import ALL_METRICS
from reports.console import comparison_lines, published, switched_off
from reports.html.charts import Chart
from reports.html.devices import devices_part
from reports.html.facts import facts_part
from reports.html.page import page, render
from reports.html.ranks import ranks_part
from reports.html.series import stalls
from reports.html.training import time_marks, training_part
from verdict.judge import Judged
from verdict.wording import bounds, half_width, limit, quantity, span

_SHOWN = {
    Verdict.PASS: ("✓", "good", "Every metric that applies is within its bounds, with confidence."),
    Verdict.FAIL: ("✗", "bad", "At least one metric is outside its bounds, with confidence."),
    Verdict.INCONCLUSIVE: ("≈", "warn", "The evidence does not decide: an interval straddles its bound."),
    Verdict.RECORDED: ("·", "", "Everything was measured, and for some of it there is no number to hold it against."),
    Verdict.MISSING: ("–", "warn", "A metric that applies was not measured by this protocol."),
    Verdict.INVALID: ("!", "bad", "The evidence cannot be trusted: these numbers prove nothing about the device."),
}
"""Of each verdict its sign, its colour, and what it means as the outcome of a run."""
_GATE = re.compile(r"(GATE: [A-Z]+)(.*)", re.DOTALL)
_GATE_KINDS = {"GATE: PASS": "good", "GATE: FAIL": "bad", "GATE: INVALID": "bad", "GATE: INCOMPLETE": "warn"}
_WIDTH, _HEIGHT, _ROOM = 220, 30, 12


@dataclass(frozen=True)
class PageOf:
    """The content of a run's page: the judged run, its folder as it should be shown, and what can be done next.

    `commands` are command lines by a short word for each; `notes` stand beside the reasons.
    """

    run: Judged
    folder: str
    commands: Mapping[str, str]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Body:
    """The page of a run without its frame."""

    head: Mapping[str, Any]
    html: Markup
    charts: Sequence[Chart]


def run_page(of: PageOf) -> str:
    """Return the page of a run as one HTML file. Broken evidence gives a page with its problems on it.

    >>> run_page(PageOf(judged, "runs/x", {"again": "pytest --replay=runs/x"}))  # doctest: +SKIP
    '<!DOCTYPE html>...'
    """
    body = _body(of, "")
    title = f"{body.head['title']}: {of.run.verdict.outcome}"
    return page(title, render("run.html", head=body.head, body=body.html), body.charts)


def session_page(runs: Sequence[PageOf], *, comparisons: Sequence[Comparison], gate: str, command: str) -> str:
    """Return the page of a session as one HTML file.

    `gate` is the last line of the session, "" without --gate; `command` the command line that started it.
    """
    bodies = [_body(run, f"r{number}-") for number, run in enumerate(runs)]
    verdicts = [run.run.verdict for run in runs]
    names = [name for name in ALL_METRICS if any(name in verdict.shown for verdict in verdicts)]
    match = _GATE.fullmatch(gate)
    gate_word, gate_rest = (match.group(1), match.group(2).lstrip(" ,")) if match else ("", gate)
    html = render(
        "session.html",
        command=command,
        gate=gate_word,
        gate_rest=gate_rest,
        gate_kind=_GATE_KINDS.get(gate_word, ""),
        names=[(name, ALL_METRICS[name].unit) for name in names],
        rows=[_session_row(f"r{at}-", one, names) for at, one in enumerate(verdicts)],
        tables=[(title, [line.text for line in lines]) for title, lines in comparison_lines(comparisons).items()],
        bodies=[(f"r{at}-", body) for at, body in enumerate(bodies)],
    )
    outcomes = [verdict.outcome for verdict in verdicts]
    counted = ", ".join(f"{outcomes.count(word)} {word}" for word in dict.fromkeys(outcomes))
    title = f"{gate_word or 'Session'}: {counted or 'no run'}"
    return page(title, html, [chart for body in bodies for chart in body.charts])


def badge(verdict: Verdict) -> Markup:
    """Return a verdict as a word with its sign, in its colour."""
    sign, kind, _ = _SHOWN[verdict]
    return render("badge.html", word=verdict.value, sign=sign, kind=kind)


def _body(of: PageOf, prefix: str) -> _Body:
    """Return the sections of a run; the ids of its charts and headings begin with `prefix`."""
    evidence, verdict = of.run.evidence, of.run.verdict
    found = stalls(evidence.ranks)
    marks = time_marks(evidence.ranks, found)
    training, training_charts = training_part(evidence, verdict, found, marks, prefix)
    ranks, rank_charts = ranks_part(evidence, prefix)
    devices, device_charts = devices_part(evidence, verdict, marks, prefix)
    html = render(
        "sections.html",
        prefix=prefix,
        verdict=verdict,
        notes=of.notes,
        metrics=[_metric_row(metric) for metric in verdict.shown.values()],
        training=training,
        ranks=ranks,
        devices=devices,
        facts=facts_part(of.run),
        commands=of.commands,
    )
    return _Body(_head(of), html, [*training_charts, *rank_charts, *device_charts])


def _head(of: PageOf) -> dict[str, Any]:
    """Return what stands above everything: the cell, how it was run, the outcome and what it means."""
    verdict, serial = of.run.verdict, of.run.serial
    cell = verdict.cell
    card = "" if cell.card is None else f"device {cell.card}" + (f" ({serial})" if serial else "")
    return {
        "title": f"{of.run.device.name} {cell}",
        "cell": cell.id,
        "outcome": badge(verdict.outcome),
        "meaning": _SHOWN[verdict.outcome][2],
        "facts": [fact for fact in (f"protocol {verdict.protocol}", cell.shape, card) if fact],
        "simulated": verdict.simulated,
        "restarts": verdict.restarts,
        "without": switched_off(verdict),
        "folder": of.folder,
    }


def _session_row(prefix: str, verdict: RunVerdict, names: Sequence[str]) -> dict[str, Any]:
    metrics = [verdict.shown.get(name) for name in names]
    return {
        "prefix": prefix,
        "verdict": verdict,
        "outcome": badge(verdict.outcome),
        "metrics": [None if metric is None else _metric_number(metric) for metric in metrics],
    }


def _metric_number(metric: MetricVerdict) -> dict[str, Any]:
    return {
        "measured": quantity(metric.measured, metric.unit),
        "half_width": half_width(metric.measured, metric.interval),
        "badge": badge(metric.verdict),
    }


def _metric_row(metric: MetricVerdict) -> dict[str, Any]:
    return {
        **_metric_number(metric),
        "name": metric.metric,
        "interval": "" if metric.interval is None else span(metric.interval, metric.unit),
        "bound": bounds(metric.low, metric.high, metric.unit),
        "published": published(metric),
        "graphic": _graphic(metric),
        "reason": metric.reason,
        "method": metric.method,
        "source": metric.source,
    }


def _graphic(metric: MetricVerdict) -> Markup:
    """Return a small picture of the measured value and its interval on a line with the bounds; "" without a bound."""
    low, high, expected = (
        one if one is not None and math.isfinite(one) else None for one in (metric.low, metric.high, metric.expected)
    )
    limits = [value for value in (low, high) if value is not None]
    if metric.measured is None or not limits:
        return Markup("")
    interval = metric.interval
    begin, end = (metric.measured, metric.measured) if interval is None else (interval.low, interval.high)
    shown = [metric.measured, begin, end, *limits, *([] if expected is None else [expected])]
    least, most = min(shown), max(shown)
    width = most - least or abs(most) or 1.0

    def across(value: float) -> float:
        return round(_ROOM + (value - least) / width * (_WIDTH - 2 * _ROOM), 1)

    sides = [
        f"{word} {limit(one, metric.unit)}" for word, one in (("at least", low), ("at most", high)) if one is not None
    ]
    number = quantity(metric.measured, metric.unit)
    return render(
        "interval.html",
        words=f"{metric.metric} {number}; passes with {' and '.join(sides)}",
        kind=_SHOWN[metric.verdict][1],
        width=_WIDTH,
        height=_HEIGHT,
        good=(0 if low is None else across(low), _WIDTH if high is None else across(high)),
        bounds=[across(value) for value in limits],
        published=None if expected is None else across(expected),
        begin=across(begin),
        end=across(end),
        at=across(metric.measured),
    )
