"""A run that goes on, in the terminal: what it has measured so far against its bounds."""

from __future__ import annotations

from typing import Sequence

from evidence.text import visible
from evidence.verdict import MetricVerdict, RunVerdict, Verdict
from reports.console import COLOURS
from reports.lines import Line, aligned, folded
from verdict.wording import limit, margin, measured, of_published

WORDS = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "undecided",
    Verdict.RECORDED: "recorded",
    Verdict.MISSING: "not yet",
    Verdict.INVALID: "invalid",
}
"""A provisional verdict in a word."""

_HEADINGS = ("metric", "so far", "bound", "to bound", "published", "provisional")
_EXPLAINED = (Verdict.FAIL, Verdict.INCONCLUSIVE)


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
    for line in running_lines(verdict, device="R300", folder="runs/x", now=["epoch 3/13", "step 420/916"]):
        print(line.text)
    """
    simulated = " · simulated" if verdict.simulated else ""
    shown = verdict.shown.values()
    rows = [_HEADINGS, *map(_row, shown)]
    rows += [(name, one.measured, one.bound, "", "", WORDS[one.verdict]) for name, one in verdict.probes.items()]
    verdicts = [*(one.verdict for one in shown), *(one.verdict for one in verdict.probes.values())]
    said = [Line(one.reason, COLOURS[one.verdict]) for one in verdict.metrics.values() if one.verdict in _EXPLAINED]
    if verdict.outcome is Verdict.INVALID:
        said = [Line(f"the evidence cannot be trusted: {reason}", "red") for reason in verdict.reasons]
    said += [Line(f"cannot pass any more: {why}", "red")] if why else []
    said += [Line(note, "yellow") for note in notes]
    parts: list[Sequence[Line]] = [
        [Line(f"{device} {verdict.cell} · {verdict.protocol}{simulated} · running"), Line(folder)],
        _joined(now, width),
        aligned(rows, ["", *(COLOURS[one] if one is not Verdict.MISSING else "" for one in verdicts)]),
        *([Line(visible(one.text), one.colour)] for one in said),
        [Line("The run goes on, so nothing here is a verdict yet.")],
    ]
    return folded([line for part in parts for line in (*part, Line(""))][:-1], width)


def _row(metric: MetricVerdict) -> tuple[str, ...]:
    sides = ((">=", metric.low), ("<=", metric.high))
    return (
        metric.metric,
        measured(metric.measured, metric.interval, metric.unit),
        " and ".join(f"{sign} {limit(one, metric.unit)}" for sign, one in sides if one is not None) or "-",
        _distance(metric),
        of_published(metric),
        WORDS[metric.verdict],
    )


def _distance(metric: MetricVerdict) -> str:
    """Return how far the number is from its bound: "+4.7 %" if it is inside."""
    number, _, side = margin(metric).rpartition(" ")
    return f"{'+' if side == 'inside' else '-'}{number}" if number else "-"


def _joined(parts: Sequence[str], width: int) -> list[Line]:
    """Return the parts side by side, none of which is broken over two lines."""
    texts: list[str] = []
    for part in map(visible, parts):
        if texts and len(texts[-1]) + 2 + len(part) <= width:
            texts[-1] += f"  {part}"
        else:
            texts.append(part)
    return [Line(text) for text in texts]
