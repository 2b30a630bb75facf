"""The page of a run: outcome, amount, cause and next step first, then what is behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from markupsafe import Markup

from evidence.verdict import Comparison, MetricVerdict, ProbeVerdict, RunVerdict, Verdict
from reports.console import switched_off
from reports.html.charts import Chart
from reports.html.page import page, render
from reports.html.sections.devices import devices_part
from reports.html.sections.diagnosis import Culprit, cause, find_culprit, next_step
from reports.html.sections.facts import facts_part
from reports.html.sections.links import links_part
from reports.html.sections.metrics import (
    KINDS,
    amount,
    badge,
    margin_of,
    metric_row,
    probe_row,
    running_badge,
    span_of,
)
from reports.html.sections.peaks import peaks_part
from reports.html.sections.probes import probes_part
from reports.html.sections.ranks import ranks_part
from reports.html.sections.series import stalls
from reports.html.sections.training import time_marks, training_part
from reports.html.texts import text
from verdict.compare.health import judge_health
from verdict.judge import Judged
from verdict.wording import duration, percent

_GATE = re.compile(r"(GATE: [A-Z]+)(.*)", re.DOTALL)
_GATE_KINDS = {"GATE: PASS": "good", "GATE: FAIL": "bad", "GATE: INVALID": "bad", "GATE: INCOMPLETE": "warn"}
_DECISIVE = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE)


@dataclass(frozen=True)
class PageOf:
    """The content of a run's page: the judged run, its folder as it should be shown, and what can be done next.

    `commands` are command lines by a short word for each; `notes` stand beside the reasons. `gate` is the gate's last
    line, "" without --gate; `release` what the vendor calls what was tested; `comparisons` are those of the run's cell.
    """

    run: Judged
    folder: str
    commands: Mapping[str, str]
    notes: Sequence[str] = ()
    gate: str = ""
    release: str = ""
    comparisons: Sequence[Comparison] = ()


@dataclass(frozen=True)
class Body:
    """The page of a run without its frame."""

    head: Mapping[str, Any]
    html: Markup
    charts: Sequence[Chart]


@dataclass(frozen=True)
class State:
    """What a run's page says first, and why: the worst of its metrics, its probes, its health and its comparisons.

    `beside` are comparisons with a row of their own, `deciding` all but the metrics that are no pass.
    """

    verdict: Verdict
    culprit: Culprit | None
    health: MetricVerdict
    beside: Sequence[MetricVerdict]
    deciding: Sequence[MetricVerdict | ProbeVerdict]


def run_page(of: PageOf) -> str:
    """Return the page of a run as one HTML file. Broken evidence gives a page with its problems on it.

    >>> run_page(PageOf(judged, "runs/x", {"again": "pytest --replay=runs/x"}))  # doctest: +SKIP
    '<!DOCTYPE html>...'
    """
    return _whole(body_of(of, ""))


def running_page(of: PageOf, *, refresh_s: int | None = None) -> str:
    """Return the page of a run that has not ended, which a browser reads again every `refresh_s` seconds.

    The state is "running". Verdicts are shown as they are so far; one that is invalid or missing, as all are before the
    evidence is complete, is shown as running.
    """
    return _whole(body_of(of, "", running=True), refresh_s)


def _whole(body: Body, refresh_s: int | None = None) -> str:
    title = f"{body.head['state']}: {body.head['title']}"
    return page(title, render("run.html", head=body.head, body=body.html), body.charts, refresh_s=refresh_s)


def state_of(of: PageOf) -> State:
    """Return what the run's page says first."""
    evidence, verdict = of.run.evidence, of.run.verdict
    health = judge_health([run.evidence for run in of.run.runs], broken=verdict.broken)
    beside = [one.judged for one in of.comparisons if one.judged.metric != health.metric]
    others: list[MetricVerdict | ProbeVerdict] = [health, *beside, *verdict.probes.values()]
    deciding = [one for one in others if one.verdict in _DECISIVE]
    worst = Verdict.worst([verdict.outcome, *(one.verdict for one in deciding)])
    return State(worst, find_culprit(evidence), health, beside, deciding)


def body_of(of: PageOf, prefix: str, *, running: bool = False) -> Body:
    """Return the sections of a run; the ids of its charts and headings begin with `prefix`."""
    evidence, verdict = of.run.evidence, of.run.verdict
    state = state_of(of)
    found = stalls(evidence.ranks)
    marks = time_marks(evidence.ranks, found)
    training, training_charts = training_part(of.run, found, marks, state.culprit, prefix)
    ranks, rank_charts = ranks_part(evidence, state.culprit, prefix)
    devices, device_charts = devices_part(evidence, verdict, marks, state.culprit, prefix)
    links, link_charts = links_part(evidence, of.run.cell, prefix)
    peaks, peak_charts = peaks_part(evidence, of.run.cell, state.culprit, prefix)
    shown = [*verdict.shown.values(), *state.beside]
    scale = span_of(shown)
    rows = [metric_row(metric, scale, provisional=running) for metric in shown]
    if verdict.broken:  # the reasons stand above the table
        rows = [{**row, "reason": ""} for row in rows]
    rows += [probe_row(name, probe) for name, probe in verdict.probes.items()]
    html = render(
        "sections.html",
        prefix=prefix,
        verdict=verdict,
        # The reason of a metric stands in its row, those of an invalid run above the table.
        reasons=() if running or verdict.outcome is not Verdict.INVALID else verdict.reasons,
        notes=(*verdict.notes, *of.notes),
        metrics=rows,
        span=percent(scale) if any(row["graphic"] for row in rows) else "",
        training=training,
        ranks=ranks,
        devices=devices,
        probes=probes_part(evidence, state.health, state.culprit, prefix, running=running),
        links=links,
        peaks=peaks,
        facts=facts_part(of.run),
        commands=of.commands,
    )
    charts = [*training_charts, *rank_charts, *device_charts, *link_charts, *peak_charts]
    return Body(_head(of, state, prefix, running=running), html, charts)


def gate_parts(gate: str) -> tuple[str, str, str]:
    """Return the word of the gate's line, the rest of it, and the word's colour; all "" without a line."""
    match = _GATE.fullmatch(gate)
    word, rest = (match.group(1), match.group(2).lstrip(" ,")) if match else ("", gate)
    return word, rest, _GATE_KINDS.get(word, "")


def facts_of(of: PageOf) -> list[tuple[str, str]]:
    """Return what identifies a run: when it was, on what, which release, which cell, and where it is."""
    evidence, verdict, run = of.run.evidence, of.run.verdict, of.run.evidence.run
    cell, serial = verdict.cell, of.run.serial
    place = cell.place + (f" ({serial})" if cell.place and serial else "")
    names = dict.fromkeys(start.device_name for _, start in evidence.starts)
    under_test = {} if run is None else run.under_test
    facts = {
        "date": "" if run is None else run.started_utc[:16].replace("T", " ") + " UTC" * bool(run.started_utc),
        "duration": "" if run is None or run.boot.elapsed_s is None else duration(run.boot.elapsed_s),
        "device": ", ".join(names) or of.run.device.name,
        "place": place,
        "release": "; ".join(
            filter(None, [of.release, ", ".join(f"{item} {word}" for item, word in under_test.items())])
        ),
        "cell": cell.id,
        "shape": cell.shape,
        "protocol": verdict.protocol,
        "folder": of.folder,
    }
    return [(text(f"fact.{name}"), value) for name, value in facts.items() if value]


def flags_of(verdict: RunVerdict) -> list[str]:
    """Return what keeps a run from being proof, or makes it another run than it seems, each in a word or two."""
    return [
        *([text("flag.simulated")] if verdict.simulated else []),
        *([text("flag.restarted", n=verdict.restarts)] if verdict.restarts else []),
        *filter(None, [switched_off(verdict)]),
    ]


def _head(of: PageOf, state: State, prefix: str, *, running: bool) -> dict[str, Any]:
    """Return what stands above everything: outcome, gate, amount, cause and next step, and what identifies the run."""
    verdict = of.run.verdict
    gate, rest, gate_kind = gate_parts(of.gate)
    rows = [_row("gate", render("gate.html", word=gate, rest=rest, kind=gate_kind))] if of.gate else []
    rows.append(_row("result", text("meaning.running" if running else f"meaning.{state.verdict}")))
    if not running:
        rows += [_row("amount", line) for line in _amounts(verdict, state)]
        said = (
            cause(of.run.evidence, verdict, state.culprit, state.deciding) if state.verdict is not Verdict.PASS else ""
        )
        is_culprit = state.culprit is not None and said == state.culprit.words
        href = f"#{prefix}h-skew" if is_culprit else ""
        rows += [_row("cause", said, "culprit" if is_culprit else "", href)] if said else []
        rows.append(_row("next", next_step(of.run.evidence, verdict, state.verdict, state.culprit)))
    return {
        "title": f"{of.run.device.name} {verdict.cell}",
        "cell": verdict.cell.id,
        "state": text("state.running") if running else text(f"state.{state.verdict}"),
        "outcome": running_badge() if running else badge(state.verdict),
        "answer": rows,
        "facts": facts_of(of),
        "flags": flags_of(verdict),
    }


def _row(name: str, words: str, kind: str = "", href: str = "") -> dict[str, str]:
    return {"label": text(f"answer.{name}"), "text": words, "kind": kind, "href": href}


def _amounts(verdict: RunVerdict, state: State) -> list[str]:
    """Return by how much each metric misses its bound, or the one that comes nearest to it where all pass."""
    known = [*verdict.metrics.values(), *state.beside]
    if verdict.outcome is Verdict.INVALID:
        return []
    wrong = [one for one in known if KINDS[one.verdict][1] in ("bad", "warn") and one.measured is not None]
    if wrong:
        return [amount(one) for one in wrong]
    if state.deciding:
        named = [f"{name}: {one.measured}" for name, one in verdict.probes.items() if one in state.deciding]
        faults = state.health.measured if state.health in state.deciding else None
        return named + ([text("amount.faults", n=f"{faults:g}")] if faults else [])
    held = [(margin.value, one) for one in known for margin in [margin_of(one)] if margin is not None]
    return [text("amount.nearest", metric=amount(min(held, key=lambda one: one[0])[1]))] if held else []
