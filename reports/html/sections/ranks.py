"""What each rank did with its time: the ledger, how long steps took, and which rank is slower than the others."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
from markupsafe import Markup

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.events.training import LEDGER_PARTS
from reports.html.bars import Bar, StackedBars, stacked_bars
from reports.html.charts import Chart, Mark, Series
from reports.html.sections.diagnosis import Culprit
from reports.html.sections.series import histogram
from reports.html.texts import text
from verdict.metrics.stragglers import STRAGGLER_TOLERANCE, Straggler, forward_images, paces

_PERCENTILES = (50, 95, 99)
_SKEW = 160  # width of a rank's place beside its siblings


def ranks_part(evidence: Evidence, culprit: Culprit | None, prefix: str) -> tuple[dict[str, Any], list[Chart]]:
    """Return what `templates/ranks.html` takes, and its charts."""
    steps = _step_times(evidence.ranks, prefix)
    part = {
        "ledger": _ledger(evidence.ranks),
        "without_ledger": [rank.rank for rank in evidence.ranks if rank.train_end is None],
        "steps": steps,
        "skew_width": _SKEW,
        "skew": _skew(evidence, culprit),
        "tolerance": f"{STRAGGLER_TOLERANCE:.0%}",
    }
    return part, [] if steps is None else [steps]


def _ledger(ranks: Sequence[RankEvidence]) -> Markup:
    """Return the time ledger of each rank that has one as bars of its wall time; "" without any."""
    bars = [
        Bar(
            str(rank.rank),
            [rank.train_end.ledger[name] / 1e9 for name in LEDGER_PARTS],
            (rank.train_end.t_ns - rank.train_begin_ns) / 1e9 if rank.train_begin_ns is not None else None,
        )
        for rank in ranks
        if rank.train_end is not None
    ]
    if not bars:
        return Markup("")
    parts = [text(f"ledger.{name[: -len('_ns')]}") for name in LEDGER_PARTS]
    return stacked_bars(StackedBars(parts, bars, corner=text("column.rank"), label=text("ledger.label")))


def _step_times(ranks: Sequence[RankEvidence], prefix: str) -> Chart | None:
    measured = [rank.windows.compute_ns[~rank.windows.warmup.repeat(rank.windows.size)] for rank in ranks]
    times_ms = np.concatenate(measured) / 1e6 if measured else np.zeros(0)
    if not len(times_ms):
        return None
    middles, counts, beyond = histogram(times_ms)
    at = [float(value) for value in np.percentile(times_ms, _PERCENTILES)]
    percentiles = ", ".join(f"p{share} {value:.4g} ms" for share, value in zip(_PERCENTILES, at))
    words = text(
        "steps.words",
        n=f"{len(times_ms):,}".replace(",", " "),
        ranks=len(ranks),
        percentiles=percentiles,
        longest=f"{times_ms.max():.4g}",
    )
    if beyond:
        words += " " + text("steps.beyond", n=beyond)
    return Chart(
        id=f"{prefix}steps",
        title=text("steps.title"),
        x=middles.tolist(),
        series=[Series(text("steps.unit"), [float(count) for count in counts], "bars", tone="muted")],
        unit=text("steps.unit"),
        x_label=text("steps.axis"),
        marks=[Mark(f"{value:.4g} ms", value, None, f"p{share}", "accent") for share, value in zip(_PERCENTILES, at)],
        summary=words,
        from_zero=True,
    )


def _skew(evidence: Evidence, culprit: Culprit | None) -> list[dict[str, Any]]:
    if not any(rank.windows.steps for rank in evidence.ranks):
        return []
    found = {one.rank: one for one in paces(evidence)}
    widest = max([abs(one.slower) for one in found.values()] + [2 * STRAGGLER_TOLERANCE])
    return [_skew_row(rank, found.get(rank.rank), widest, culprit) for rank in evidence.ranks]


def _signed(share: float) -> str:
    """Return a share in percent with its sign, without one if it is rounded to 0."""
    shown = f"{100 * share:+.1f} %".replace("-", "−")
    return shown[1:] if shown[1:] == "0.0 %" else shown


def _skew_row(rank: RankEvidence, pace: Straggler | None, widest: float, culprit: Culprit | None) -> dict[str, Any]:
    windows = rank.windows.measured
    images = forward_images(rank)
    forward = f"{float(windows.forward_ns.sum(dtype=float)) / images / 1e6:.4g}" if images > 0 else "-"
    steps = windows.compute_ns / 1e6
    half = _SKEW / 2
    slow = pace is not None and pace.slower > STRAGGLER_TOLERANCE
    return {
        "rank": rank.rank,
        "host": "-" if rank.start is None else rank.start.host,
        "card": "-" if rank.start is None else rank.start.card,
        "forward": forward,
        "slower": "-" if pace is None else _signed(pace.slower),
        "slow": slow,
        "is_culprit": culprit is not None and culprit.rank == rank.rank,
        "at": None if pace is None else round(half + pace.slower / widest * (half - 6), 1),
        "bound": round(half + STRAGGLER_TOLERANCE / widest * (half - 6), 1),
        "percentiles": [f"{value:.4g}" for value in np.percentile(steps, _PERCENTILES)] if len(steps) else ["-"] * 3,
        "longest": f"{steps.max():.4g}" if len(steps) else "-",
        "steps": f"{len(steps):,}".replace(",", " "),
    }
