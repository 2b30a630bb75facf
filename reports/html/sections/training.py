"""How training went: loss, mAP, throughput over time, and stalls."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.verdict import RunVerdict
from reports.html.charts import Chart, Level, Mark, Series, lines_of, over_time
from reports.html.sections.diagnosis import Culprit
from reports.html.sections.metrics import levels_of
from reports.html.sections.series import (
    STALL,
    Stall,
    listed,
    losses,
    on_grid,
    rank_rates,
    run_rates,
    window_spans,
    zero_ns,
)
from reports.html.texts import text
from verdict.judge import Judged
from verdict.wording import quantity

_MARKED = 60  # the longest stalls; more would cover the chart
_LISTED = 12


def training_part(
    run: Judged,
    found: Sequence[Stall],
    marks: Sequence[Mark],
    culprit: Culprit | None,
    prefix: str,
) -> tuple[dict[str, Any], list[Chart]]:
    """Return what `templates/training.html` takes, and its charts, their ids beginning with `prefix`.

    `found` are the stalls of the run, `marks` what is marked in each chart over time.
    """
    ranks, verdict = run.evidence.ranks, run.verdict
    made = (
        _loss(ranks, prefix),
        _score(run.evidence, verdict, prefix),
        _rate(ranks, marks, found, rate_levels(verdict), prefix),
        _rate_by_rank(ranks, marks, rate_levels(verdict, run.cell.topology.ranks), culprit, prefix),
    )
    charts = [chart for chart in made if chart is not None]
    longest = sorted(found, key=lambda one: -one.lost_s)[:_LISTED]
    part = {
        "charts": charts,
        "score": made[1],
        "rates": [chart for chart in made[2:] if chart is not None],
        "stalls": [_stall_row(stall) for stall in longest],
        "stall_count": len(found),
        "stall_lost": quantity(sum(stall.lost_s for stall in found), "s"),
        "stall_rule": f"{STALL:g}",
    }
    return part, charts


def time_marks(ranks: Sequence[RankEvidence], found: Sequence[Stall]) -> list[Mark]:
    """Return warm-up, evaluations and checkpoints as the first rank recorded them, and the stalls of all ranks."""
    marks: list[Mark] = []
    seen = next((rank for rank in ranks if rank.windows.steps or rank.evaluations), None)
    if seen is not None:
        zero = float(zero_ns(seen) or 0)
        warmup = seen.windows.warmup
        if warmup.any():
            begin_s, end_s = window_spans(seen)
            marks.append(Mark(text("mark.warmup"), float(begin_s[warmup].min()), float(end_s[warmup].max()), "W"))
        for one in seen.evaluations:
            marks.append(Mark(text("mark.evaluation"), (one.begin_ns - zero) / 1e9, (one.end_ns - zero) / 1e9, "E"))
        marks += [Mark(text("mark.checkpoint"), (t_ns - zero) / 1e9, None, "C") for t_ns in seen.checkpoints_ns]
    longest = sorted(found, key=lambda one: -one.lost_s)[:_MARKED]
    return marks + [Mark(text("mark.stall"), one.begin_s, one.end_s, "S", "bad") for one in longest]


def _loss(ranks: Sequence[RankEvidence], prefix: str) -> Chart | None:
    found = losses(ranks)
    if found is None:
        return None
    middle = listed(found.middle)
    known = [value for value in middle if value is not None]
    words = (
        text("loss.words", first=f"{known[0]:.4g}", last=f"{known[-1]:.4g}", least=f"{min(known):.4g}")
        if known
        else text("loss.none")
    )
    marks = []
    if found.not_finite is not None:
        rank, step = found.not_finite
        more = text("loss.not_finite", n=found.count, rank=rank, step=step)
        words = f"{words} {more}"
        marks.append(Mark(text("mark.not_finite"), float(step), None, "NaN", "bad"))
    several = sum(1 for rank in ranks if rank.windows.steps) > 1
    band = text("loss.band_of_ranks" if several else "loss.band")
    return Chart(
        id=f"{prefix}loss",
        title=text("loss.title"),
        x=found.step.tolist(),
        series=[
            Series(band, listed(found.low), "band", listed(found.high)),
            Series(text("loss.median"), middle, tone="accent"),
        ],
        x_label=text("chart.step"),
        marks=marks,
        summary=words,
        from_zero=True,
    )


def _score(evidence: Evidence, verdict: RunVerdict, prefix: str) -> Chart | None:
    known = [one for rank in evidence.ranks for one in rank.evaluations if one.map is not None]
    if not known:
        return None
    metric = verdict.metrics.get("map")
    levels = [] if metric is None else levels_of("map", metric.unit, metric.low, metric.high, metric.expected)
    finite = [one for one in known if one.map is not None and one.map == one.map]
    best = max(finite, key=lambda one: one.map or 0.0) if finite else None
    words = text("score.none", n=len(known))
    if best is not None:
        words = text(
            "score.words", n=len(known), best=f"{best.map:.4f}", when=_when(best.epoch), last=f"{known[-1].map:.4f}"
        )
    return Chart(
        id=f"{prefix}map",
        title="mAP",
        x=list(range(len(known))),
        series=[Series("mAP", [one.map for one in known])],
        kind="category",
        categories=[text("score.start") if one.epoch < 0 else str(one.epoch + 1) for one in known],
        x_label=text("chart.epoch"),
        levels=levels,
        summary=words,
        from_zero=True,
    )


def _when(epoch: int) -> str:
    return text("score.before") if epoch < 0 else text("score.after", epoch=epoch + 1)


def rate_levels(verdict: RunVerdict, ranks: int = 1) -> list[Level]:
    """Return bound and published number of the throughput that a window's comes nearest, a rank's share of them.

    That is p_train, whose time has no evaluation in it as a window has none; without a number p_core, or p_whole.
    """
    for name in ("p_train", "p_core", "p_whole"):
        metric = verdict.metrics.get(name)
        if metric is None or metric.low is None or metric.expected is None:
            continue
        return levels_of(name, metric.unit, metric.low, metric.high, metric.expected, ranks=ranks)
    return []


def _rate(
    ranks: Sequence[RankEvidence], marks: Sequence[Mark], found: Sequence[Stall], levels: Sequence[Level], prefix: str
) -> Chart | None:
    spans = run_rates(ranks)
    if not len(spans.values):
        return None
    x, (values,) = on_grid([spans], also_s=_times(marks))
    known = spans.values[spans.values == spans.values]
    words = text("rate.none")
    if len(known):
        low, middle, high = (quantity(float(value), "images/s") for value in (known.min(), _median(known), known.max()))
        words = text("rate.words", low=low, high=high, middle=middle)
    words += f" {_counted(found)}"
    return over_time(
        f"{prefix}rate",
        text("rate.title"),
        x,
        [Series(text("rate.all"), values, tone="accent")],
        unit="images/s",
        marks=marks,
        levels=levels,
        summary=words,
        from_zero=True,
        group=f"{prefix}time",
    )


def _rate_by_rank(
    ranks: Sequence[RankEvidence],
    marks: Sequence[Mark],
    levels: Sequence[Level],
    culprit: Culprit | None,
    prefix: str,
) -> Chart | None:
    """Return the rates of all ranks, which are alike: in every step all wait for the slowest."""
    able = [rank for rank in ranks if rank.windows.steps]
    if len(able) < 2:
        return None
    spans = [rank_rates(rank) for rank in able]
    x, lines = on_grid(spans, also_s=_times(marks))
    medians = [_median(line.values[line.values == line.values]) for line in spans]
    low, high = (quantity(value, "images/s") for value in (min(medians), max(medians)))
    at = next((at for at, rank in enumerate(able) if culprit is not None and rank.rank == culprit.rank), None)
    return over_time(
        f"{prefix}rank-rate",
        text("rate.by_rank"),
        x,
        lines_of([text("label.rank", rank=rank.rank) for rank in able], lines, at),
        unit="images/s",
        marks=marks,
        levels=levels,
        summary=text("rate.by_rank_words", low=low, high=high),
        from_zero=True,
        group=f"{prefix}time",
    )


def _times(marks: Sequence[Mark]) -> list[float]:
    return [time_s for mark in marks for time_s in (mark.begin, mark.end) if time_s is not None]


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _counted(found: Sequence[Stall]) -> str:
    if not found:
        return text("stall.none")
    lost = quantity(sum(stall.lost_s for stall in found), "s")
    return text("stall.words", n=len(found), lost=lost)


def _stall_row(stall: Stall) -> dict[str, str]:
    return {
        "at": quantity(stall.begin_s, "s"),
        "step": f"{stall.step:,}".replace(",", " "),
        "rank": str(stall.rank),
        "lost": quantity(stall.lost_s, "s"),
        "cause": text(f"stall.{stall.cause}"),
    }
