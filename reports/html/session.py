"""The page of a session: the gate's line and the reasons first, a row for each cell, and each run's page in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Sequence

from evidence.verdict import ComparedDevice, Comparison, MetricVerdict, ProbeVerdict, RunVerdict, Verdict
from expected import ALL_METRICS
from reports.html.page import page, render
from reports.html.pages import Body, PageOf, body_of, gate_parts
from reports.html.sections.metrics import badge, distance, metric_row, span_of
from reports.html.texts import text
from verdict.wording import half_width, percent, quantity

_MOST_REASONS = 3  # of a cell; its own page has them all


def session_page(runs: Sequence[PageOf], *, comparisons: Sequence[Comparison], gate: str, command: str) -> str:
    """Return the page of a session as one HTML file.

    `gate` is the last line of the session, "" without --gate; `command` the command line that started it.
    """
    mine = [
        replace(run, gate="", comparisons=[one for one in comparisons if one.cell == run.run.verdict.cell.id])
        for run in runs
    ]
    bodies = [body_of(run, f"r{number}-") for number, run in enumerate(mine)]
    verdicts = [run.run.verdict for run in runs]
    names = [name for name in ALL_METRICS if any(name in verdict.shown for verdict in verdicts)]
    gate_word, gate_rest, gate_kind = gate_parts(gate)
    title, scale = _title(bodies, mine), span_of([one.judged for one in comparisons])
    html = render(
        "session.html",
        title=title,
        command=command,
        gate=gate_word,
        gate_rest=gate_rest,
        gate_kind=gate_kind,
        names=names,
        rows=[_session_row(f"r{at}-", run, body, names) for at, (run, body) in enumerate(zip(mine, bodies))],
        compared=[
            {
                **metric_row(one.judged, scale),
                "cell": one.cell,
                "than": text("session.than", cell=one.than) if one.than else "",
            }
            for one in sorted(comparisons, key=lambda one: list(Verdict).index(one.judged.verdict))  # the worst first
        ],
        devices=[(one.cell, [_device_row(device) for device in one.devices]) for one in comparisons if one.devices],
        bodies=[(f"r{at}-", body) for at, body in enumerate(bodies)],
    )
    return page(
        f"{gate_word or text('session.title')}: {title}", html, [chart for body in bodies for chart in body.charts]
    )


def _title(bodies: Sequence[Body], runs: Sequence[PageOf]) -> str:
    """Return devices, how many runs have which state, and the day: which distinguish this session from others."""
    states = [str(body.head["state"]) for body in bodies]
    counted = ", ".join(f"{states.count(word)} {word}" for word in dict.fromkeys(states)) or text("session.no_run")
    devices = ", ".join(dict.fromkeys(run.run.device.name for run in runs))
    days = [run.run.evidence.run.started_utc[:10] for run in runs if run.run.evidence.run is not None]
    return ", ".join(filter(None, [devices, counted, max(days, default="")]))


def _session_row(prefix: str, of: PageOf, body: Body, names: Sequence[str]) -> dict[str, Any]:
    verdict = of.run.verdict
    metrics = [verdict.shown.get(name) for name in names]
    reasons = _reasons(verdict, of.comparisons)
    return {
        "prefix": prefix,
        "cell": verdict.cell.id,
        "protocol": verdict.protocol,
        "flags": body.head["flags"],
        "outcome": body.head["outcome"],
        "metrics": [None if metric is None else _metric_number(metric) for metric in metrics],
        "reasons": reasons[:_MOST_REASONS],
        "more": max(0, len(reasons) - _MOST_REASONS),
    }


def _device_row(device: ComparedDevice) -> dict[str, Any]:
    return {
        "place": device.place,
        "serial": device.serial or "-",
        "p_core": quantity(device.p_core, "images/s") + half_width(device.p_core, device.interval),
        "share": "-" if device.share is None else percent(device.share),
        "badge": badge(device.verdict),
    }


def _reasons(verdict: RunVerdict, comparisons: Sequence[Comparison]) -> list[str]:
    """Return why a cell does not pass, the worst first: of its metrics, its probes, and its comparisons."""
    if verdict.outcome is Verdict.INVALID:
        return list(verdict.reasons)
    judged: list[MetricVerdict | ProbeVerdict] = [*verdict.metrics.values(), *verdict.probes.values()]
    judged += [one.judged for one in comparisons]
    wanted = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.MISSING)
    return list(dict.fromkeys(one.reason for worst in wanted for one in judged if one.verdict is worst))


def _metric_number(metric: MetricVerdict) -> dict[str, Any]:
    return {
        "measured": quantity(metric.measured, metric.unit),
        "half_width": half_width(metric.measured, metric.interval),
        "distance": distance(metric),
        "badge": badge(metric.verdict),
    }
