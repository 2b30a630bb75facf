"""A run that goes on, in the terminal: what it has measured so far against its bounds, in 80 columns."""

from __future__ import annotations

import textwrap
from typing import Sequence

from evidence.text import visible
from evidence.verdict import MetricVerdict, RunVerdict, Verdict
from reports.console import COLOURS, Line, aligned
from verdict.wording import limit, measured

WORDS = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "undecided",
    Verdict.RECORDED: "recorded",
    Verdict.MISSING: "not yet",
    Verdict.INVALID: "invalid",
}
"""A provisional verdict in a word."""

_HEADINGS = ("metric", "so far", "bound", "of published", "provisional")
_COMPARED = (Verdict.FAIL, Verdict.INCONCLUSIVE)


def running_lines(
    verdict: RunVerdict,
    *,
    device: str,
    folder: str,
    now: Sequence[str],
    why: str = "",
    notes: Sequence[str] = (),
    width: int = 80,
) -> list[Line]:
    """Return the lines: `now` is where the run is, in parts, `why` it cannot pass any more, `notes` what else to know.

    verdict = judge_so_far(evidence, device, cell).verdict
    for line in running_lines(verdict, device="R300", folder="runs/x", now=["epoch 3/13"]):
        print(line.text)
    """
    simulated = " · simulated" if verdict.simulated else ""
    rows = [_HEADINGS, *map(_row, verdict.shown.values())]
    colours = ["", *(COLOURS[one.verdict] if one.measured is not None else "" for one in verdict.shown.values())]
    lines = [
        *_wrapped(f"{device} {verdict.cell} · {verdict.protocol}{simulated} · running", width),
        *_wrapped(folder, width),
        Line(""),
        *_joined(now, width),
        Line(""),
        *aligned(rows, colours),
    ]
    for name, probe in verdict.probes.items():
        lines += _wrapped(f"{name:<9}   {probe.measured}: {WORDS[probe.verdict]}", width, COLOURS[probe.verdict])
    said = [(f"{one.metric}: {one.reason}", COLOURS[one.verdict]) for one in verdict.metrics.values() if _explains(one)]
    if verdict.outcome is Verdict.INVALID:
        said = [(f"the evidence cannot be trusted: {reason}", "red") for reason in verdict.reasons]
    said += [(f"cannot pass any more: {why}", "red")] if why else []
    said += [(note, "yellow") for note in notes]
    for text, colour in said:
        lines += [Line(""), *_wrapped(text, width, colour)]
    return [*lines, Line(""), *_wrapped("The run goes on, so nothing here is a verdict yet.", width)]


def _explains(metric: MetricVerdict) -> bool:
    return metric.verdict in _COMPARED


def _row(metric: MetricVerdict) -> tuple[str, ...]:
    sides = [f"{sign} {limit(one, metric.unit)}" for sign, one in ((">=", metric.low), ("<=", metric.high)) if one]
    share = metric.measured / metric.expected if metric.measured is not None and metric.expected else None
    return (
        metric.metric,
        measured(metric.measured, metric.interval, metric.unit),
        " and ".join(sides) or "-",
        "-" if share is None else f"{share:.1%}",
        WORDS[metric.verdict],
    )


def _joined(parts: Sequence[str], width: int) -> list[Line]:
    """Return the parts side by side, none of which is broken over two lines."""
    texts: list[str] = []
    for part in map(visible, parts):
        if texts and len(texts[-1]) + 2 + len(part) <= width:
            texts[-1] += f"  {part}"
        else:
            texts.append(part)
    return [Line(text) for text in texts]


def _wrapped(text: str, width: int, colour: str = "") -> list[Line]:
    return [Line(line, colour) for line in textwrap.wrap(visible(text), width, break_long_words=True)]
