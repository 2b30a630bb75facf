"""What each rank did with its time: the ledger, how long steps took, and which rank is slower than the others."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.events.training import LEDGER_PARTS
from reports.html.charts import Chart, Mark, Series
from reports.html.series import histogram
from verdict.metrics.stragglers import STRAGGLER_TOLERANCE, Straggler, forward_images, paces
from verdict.wording import counted

PARTS = {name: name[: -len("_ns")].replace("_", " ") for name in LEDGER_PARTS}
_PERCENTILES = (50, 95, 99)
_BAR = 240  # width of a bar in the ledger, and of a rank's place beside its siblings
_SKEW = 160


def ranks_part(evidence: Evidence, prefix: str) -> tuple[dict[str, Any], list[Chart]]:
    """Return what `templates/ranks.html` takes, and its charts."""
    steps = _step_times(evidence.ranks, prefix)
    part = {
        "parts": list(PARTS.values()),
        "bar": _BAR,
        "ledger": [_ledger_row(rank) for rank in evidence.ranks if rank.train_end is not None],
        "without_ledger": [rank.rank for rank in evidence.ranks if rank.train_end is None],
        "steps": steps,
        "skew_width": _SKEW,
        "skew": _skew(evidence),
        "tolerance": f"{STRAGGLER_TOLERANCE:.0%}",
        "ranks": len(evidence.ranks),
    }
    return part, [] if steps is None else [steps]


def _ledger_row(rank: RankEvidence) -> dict[str, Any]:
    assert rank.train_end is not None
    ledger = rank.train_end.ledger
    wall_ns = rank.train_end.t_ns - rank.train_begin_ns if rank.train_begin_ns is not None else 0
    booked_ns = sum(max(0, ledger[name]) for name in LEDGER_PARTS)
    whole_ns = max(wall_ns, booked_ns, 1)
    parts: list[dict[str, Any]] = []
    at = 0.0
    for number, (name, word) in enumerate(PARTS.items(), start=1):
        width = _BAR * max(0, ledger[name]) / whole_ns
        share = ledger[name] / wall_ns if wall_ns > 0 else None
        parts.append(
            {
                "number": number,
                "word": word,
                "x": round(at, 2),
                "width": round(width, 2),
                "s": f"{ledger[name] / 1e9:,.1f}".replace(",", " "),
                "percent": "-" if share is None else f"{share:.1%}",
            }
        )
        at += width
    shares = ", ".join(f"{part['word']} {part['percent']}" for part in parts if part["width"] >= 1)
    return {
        "rank": rank.rank,
        "wall": f"{wall_ns / 1e9:,.1f}".replace(",", " "),
        "booked": f"{sum(ledger.values()) / wall_ns:.1%}" if wall_ns > 0 else "-",
        "parts": parts,
        "words": f"rank {rank.rank}: {shares}",
    }


def _step_times(ranks: Sequence[RankEvidence], prefix: str) -> Chart | None:
    measured = [rank.windows.compute_ns[~rank.windows.warmup.repeat(rank.windows.size)] for rank in ranks]
    times_ms = np.concatenate(measured) / 1e6 if measured else np.zeros(0)
    if not len(times_ms):
        return None
    middles, counts, beyond = histogram(times_ms)
    at = [float(value) for value in np.percentile(times_ms, _PERCENTILES)]
    percentiles = ", ".join(f"p{share} {value:.4g} ms" for share, value in zip(_PERCENTILES, at))
    words = f"{counted(len(times_ms), 'step')} of {counted(len(ranks), 'rank')}: {percentiles}, "
    words += f"longest {times_ms.max():.4g} ms."
    if beyond:
        words += f" The last bar holds the {beyond} steps that took longer than it shows."
    return Chart(
        id=f"{prefix}steps",
        title="Compute time of a step",
        x=middles.tolist(),
        series=[Series("steps", [float(count) for count in counts], "bars", tone="muted")],
        unit="steps",
        x_label="compute time of a step in ms",
        marks=[Mark(f"{value:.4g} ms", value, None, f"p{share}", "accent") for share, value in zip(_PERCENTILES, at)],
        summary=words,
        from_zero=True,
    )


def _skew(evidence: Evidence) -> list[dict[str, Any]]:
    found = {one.rank: one for one in paces(evidence)}
    widest = max([abs(one.slower) for one in found.values()] + [2 * STRAGGLER_TOLERANCE])
    return [_skew_row(rank, found.get(rank.rank), widest) for rank in evidence.ranks]


def _skew_row(rank: RankEvidence, pace: Straggler | None, widest: float) -> dict[str, Any]:
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
        "slower": "-" if pace is None else f"{100 * pace.slower:+.1f} %".replace("-", "−"),
        "slow": slow,
        "at": None if pace is None else round(half + pace.slower / widest * (half - 6), 1),
        "bound": round(half + STRAGGLER_TOLERANCE / widest * (half - 6), 1),
        "percentiles": [f"{value:.4g}" for value in np.percentile(steps, _PERCENTILES)] if len(steps) else ["-"] * 3,
        "longest": f"{steps.max():.4g}" if len(steps) else "-",
        "steps": f"{len(steps):,}".replace(",", " "),
    }
