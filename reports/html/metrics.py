"""The verdict of a run as a page shows it: each metric with its interval against its bounds, and why."""

from __future__ import annotations

import math
from typing import Any, Mapping, Sequence

from markupsafe import Markup

from expected.site import ACCEPTED_IN
from reports.html.templates import render
from reports.numbers import bound, half_width_percent, in_words, quantity
from reports.optimizations import switched_off

SIGNS = {"pass": "✓", "fail": "✗", "inconclusive": "≈", "recorded": "·", "missing": "–", "invalid": "!"}
CLASSES = {"pass": "good", "fail": "bad", "invalid": "bad", "inconclusive": "warn", "missing": "warn", "recorded": ""}
MEANING = {
    "pass": "Every metric that applies is within its bounds, with confidence.",
    "fail": "At least one metric is outside its bounds, with confidence.",
    "inconclusive": "The evidence does not decide: an interval straddles its bound.",
    "missing": "A metric that applies was not measured by this protocol.",
    "recorded": "Everything was measured, and for some of it there is no number to hold it against.",
    "invalid": "The evidence cannot be trusted: these numbers prove nothing about the device.",
}
WIDTH, HEIGHT, ROOM = 220, 30, 12


def head(verdict: Mapping[str, Any], *, device: str, folder: str, serial: str) -> dict[str, Any]:
    """What stands above everything: the cell, how it was run, the outcome and what it means."""
    cell = verdict["cell"]
    ranks, hosts = _ranks_and_hosts(str(cell["topology"]))
    rate = cell.get("learning_rate")
    hyper = f"bs{cell['batch_size']} lr{rate:g}" if isinstance(rate, (int, float)) else f"bs{cell['batch_size']}"
    card = f"card {cell['card']}" + (f" ({serial})" if serial else "") if "card" in cell else ""
    return {
        "title": f"{device} {cell['topology']} {cell['precision']} {hyper}",
        "cell": cell["id"],
        "outcome": badge(verdict["outcome"]),
        "meaning": MEANING.get(verdict["outcome"], ""),
        "facts": [fact for fact in (f"protocol {verdict['protocol']}", f"{ranks} on {hosts}", card) if fact],
        "simulated": bool(verdict.get("simulated")),
        "restarts": verdict.get("restarts") or 0,
        "without": switched_off(verdict),
        "folder": folder,
    }


def verdict_part(verdict: Mapping[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """Outcome, reasons and the table of metrics, as `templates/verdict.html` takes them."""
    workload = verdict.get("workload")
    return {
        "reasons": list(verdict["reasons"]),
        "changed": list(verdict.get("changed", ())),
        "notes": list(notes),
        "workload": "" if workload is None else in_words(workload),
        "metrics": [_row(name, metric) for name, metric in verdict["metrics"].items()],
    }


def badge(verdict: str) -> Markup:
    """A verdict as a word with its sign, in its colour."""
    return render("badge.html", word=verdict, sign=SIGNS.get(verdict, "?"), kind=CLASSES.get(verdict, ""))


def _ranks_and_hosts(topology: str) -> tuple[str, str]:
    nodes, _, cards = topology.partition("x")
    if not (nodes.isdigit() and cards.isdigit()):
        return "ranks unknown", topology
    ranks, hosts = int(nodes) * int(cards), int(nodes)
    return f"{ranks} rank{'s' * (ranks > 1)}", f"{hosts} host{'s' * (hosts > 1)}"


def _row(name: str, metric: Mapping[str, Any]) -> dict[str, Any]:
    unit, interval = metric["unit"], metric["interval"]
    measured = quantity(metric["measured"], unit)
    published = quantity(metric["expected"], unit)
    if metric["source"].startswith(ACCEPTED_IN):
        published += " (accepted)"
    return {
        "name": name,
        "badge": badge(metric["verdict"]),
        "measured": measured,
        "half_width": half_width_percent(metric["measured"], interval) if metric["measured"] is not None else "",
        "interval": "" if interval is None else _span(interval, unit),
        "bound": bound(metric["low"], metric["high"], unit),
        "published": published,
        "graphic": graphic(name, metric),
        "reason": metric["reason"],
        "method": metric["method"],
        "source": metric["source"],
    }


def _span(interval: Sequence[float], unit: str) -> str:
    """An interval with as many decimals as its width needs: `39.57 to 39.70 images/s`."""
    width = abs(interval[1] - interval[0])
    decimals = min(9, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 2
    ends = " to ".join(f"{value:,.{decimals}f}".replace(",", " ") for value in interval)
    return ends if unit in ("", "0..1") else f"{ends} {unit}"


def graphic(name: str, metric: Mapping[str, Any]) -> Markup:
    """A small picture of the measured value and its interval on a line, with the bounds; nothing without a bound."""
    measured, low, high = metric["measured"], metric["low"], metric["high"]
    bounds = [value for value in (low, high) if _is_number(value)]
    if not _is_number(measured) or not bounds:
        return Markup("")
    interval = metric["interval"] or (measured, measured)
    shown = [value for value in (measured, *interval, *bounds, metric["expected"]) if _is_number(value)]
    least, most = min(shown), max(shown)
    width = most - least or abs(most) or 1.0

    def across(value: float) -> float:
        return round(ROOM + (value - least) / width * (WIDTH - 2 * ROOM), 1)

    sides = [
        f"{word} {quantity(value, metric['unit'])}"
        for word, value in (("at least", low), ("at most", high))
        if value is not None
    ]
    return render(
        "interval.html",
        name=name,
        words=f"{name} {quantity(measured, metric['unit'])}; passes with {' and '.join(sides)}",
        kind=CLASSES.get(metric["verdict"], ""),
        width=WIDTH,
        height=HEIGHT,
        good=(across(low) if _is_number(low) else 0, across(high) if _is_number(high) else WIDTH),
        bounds=[across(value) for value in bounds],
        published=across(metric["expected"]) if _is_number(metric["expected"]) else None,
        begin=across(interval[0]),
        end=across(interval[1]),
        at=across(measured),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
