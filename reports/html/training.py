"""How training went: loss, mAP, throughput over time, and stalls."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.verdict import RunVerdict
from reports.html.charts import Chart, Level, Mark, Series, lines_of, over_time
from reports.html.series import (
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
from verdict.wording import limit, quantity

_MARKED = 60  # the longest stalls; more would cover the chart
_LISTED = 12


def training_part(
    evidence: Evidence, verdict: RunVerdict, found: Sequence[Stall], marks: Sequence[Mark], prefix: str
) -> tuple[dict[str, Any], list[Chart]]:
    """Return what `templates/training.html` takes, and its charts, their ids beginning with `prefix`.

    `found` are the stalls of the run, `marks` what is marked in each chart over time.
    """
    ranks = evidence.ranks
    made = (
        _loss(ranks, prefix),
        _score(evidence, verdict, prefix),
        _rate(ranks, marks, found, prefix),
        _rate_by_rank(ranks, marks, prefix),
    )
    charts = [chart for chart in made if chart is not None]
    longest = sorted(found, key=lambda one: -one.lost_s)[:_LISTED]
    part = {
        "loss": made[0],
        "score": made[1],
        "rates": [chart for chart in made[2:] if chart is not None],
        "stalls": [_stall_row(stall) for stall in longest],
        "stall_count": len(found),
        "stall_lost": quantity(sum(stall.lost_s for stall in found), "s"),
        "stall_rule": f"{STALL:g} times",
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
            marks.append(Mark("warm-up, not counted", float(begin_s[warmup].min()), float(end_s[warmup].max()), "W"))
        for one in seen.evaluations:
            marks.append(Mark("evaluation", (one.begin_ns - zero) / 1e9, (one.end_ns - zero) / 1e9, "E"))
        marks += [Mark("checkpoint written", (t_ns - zero) / 1e9, None, "C") for t_ns in seen.checkpoints_ns]
    longest = sorted(found, key=lambda one: -one.lost_s)[:_MARKED]
    return marks + [Mark("stall", one.begin_s, one.end_s, "S", "bad") for one in longest]


def _loss(ranks: Sequence[RankEvidence], prefix: str) -> Chart | None:
    found = losses(ranks)
    if found is None:
        return None
    middle = listed(found.middle)
    known = [value for value in middle if value is not None]
    words = (
        f"Median loss {known[0]:.4g} at the beginning, {known[-1]:.4g} at the end, lowest {min(known):.4g}."
        if known
        else "No loss is a finite number."
    )
    marks = []
    if found.not_finite is not None:
        rank, step = found.not_finite
        more = f"{found.count} losses are not finite, the first on rank {rank} in step {step}."
        words = f"{words} {more}"
        marks.append(Mark("first loss that is not finite", float(step), None, "NaN", "bad"))
    several = sum(1 for rank in ranks if rank.windows.steps) > 1
    band = "lowest to highest of all ranks and steps" if several else "lowest to highest"
    return Chart(
        id=f"{prefix}loss",
        title="Training loss",
        x=found.step.tolist(),
        series=[
            Series(band, listed(found.low), "band", listed(found.high)),
            Series("median", middle, tone="accent"),
        ],
        x_label="optimizer step",
        marks=marks,
        summary=words,
        from_zero=True,
    )


def _score(evidence: Evidence, verdict: RunVerdict, prefix: str) -> Chart | None:
    known = [one for rank in evidence.ranks for one in rank.evaluations if one.map is not None]
    if not known:
        return None
    levels = []
    metric = verdict.metrics.get("map")
    if metric is not None and metric.low is not None:
        levels.append(Level(f"bound {limit(metric.low, metric.unit)}", metric.low))
    if metric is not None and metric.expected is not None:
        levels.append(Level(f"published {quantity(metric.expected, metric.unit)}", metric.expected, "published"))
    finite = [one for one in known if one.map is not None and one.map == one.map]
    best = max(finite, key=lambda one: one.map or 0.0) if finite else None
    words = f"{len(known)} evaluation{'s' * (len(known) > 1)}"
    words += f"; best {best.map:.4f} {_when(best.epoch)}, last {known[-1].map:.4f}." if best else "; none has a number."
    return Chart(
        id=f"{prefix}map",
        title="mAP",
        x=list(range(len(known))),
        series=[Series("mAP", [one.map for one in known])],
        kind="category",
        categories=["before" if one.epoch < 0 else str(one.epoch + 1) for one in known],
        x_label="epoch",
        levels=levels,
        summary=words,
        from_zero=True,
    )


def _when(epoch: int) -> str:
    return "before training" if epoch < 0 else f"after epoch {epoch + 1}"


def _rate(ranks: Sequence[RankEvidence], marks: Sequence[Mark], found: Sequence[Stall], prefix: str) -> Chart | None:
    spans = run_rates(ranks)
    if not len(spans.values):
        return None
    x, (values,) = on_grid([spans], also_s=_times(marks))
    known = spans.values[spans.values == spans.values]
    words = "No window has a rate."
    if len(known):
        low, middle, high = (quantity(float(value), "images/s") for value in (known.min(), _median(known), known.max()))
        words = f"Windows from {low} to {high}, half of them above {middle}."
    words += f" {_counted(found)} {len([mark for mark in marks if mark.sign == 'E'])} evaluations are marked."
    return over_time(
        f"{prefix}rate",
        "Throughput of all ranks together",
        x,
        [Series("all ranks", values, tone="accent")],
        unit="images/s",
        marks=marks,
        summary=words,
        from_zero=True,
        group=f"{prefix}time",
    )


def _rate_by_rank(ranks: Sequence[RankEvidence], marks: Sequence[Mark], prefix: str) -> Chart | None:
    able = [rank for rank in ranks if rank.windows.steps]
    if len(able) < 2:
        return None
    spans = [rank_rates(rank) for rank in able]
    x, lines = on_grid(spans, also_s=_times(marks))
    medians = [_median(line.values[line.values == line.values]) for line in spans]
    slowest = min(range(len(able)), key=lambda at: medians[at])
    words = (
        f"Median window of a rank: {quantity(min(medians), 'images/s')} on rank {able[slowest].rank}, the lowest, to "
        f"{quantity(max(medians), 'images/s')}."
    )
    return over_time(
        f"{prefix}rank-rate",
        "Throughput of each rank",
        x,
        lines_of([f"rank {rank.rank}" for rank in able], lines, slowest, "slowest"),
        unit="images/s",
        marks=marks,
        summary=words,
        from_zero=True,
        group=f"{prefix}time",
    )


def _times(marks: Sequence[Mark]) -> list[float]:
    return [time_s for mark in marks for time_s in (mark.begin, mark.end) if time_s is not None]


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _counted(found: Sequence[Stall]) -> str:
    if not found:
        return "No window is a stall."
    lost = quantity(sum(stall.lost_s for stall in found), "s")
    return f"{len(found)} stall{'s' * (len(found) > 1)} cost {lost}."


def _stall_row(stall: Stall) -> dict[str, str]:
    return {
        "at": quantity(stall.begin_s, "s"),
        "step": f"{stall.step:,}".replace(",", " "),
        "rank": str(stall.rank),
        "lost": quantity(stall.lost_s, "s"),
        "cause": stall.cause,
    }
