"""What the devices do at most, and where the time of a step goes: rates by rank, roofline, explanation."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from markupsafe import Markup

from evidence.bundle import Evidence
from evidence.events.peaks import PRODUCTS, DeviceRate
from expected import Cell
from reports.html.bars import Bar, StackedBars, stacked_bars
from reports.html.charts import Chart, Curve, x_y
from reports.html.sections.diagnosis import Culprit
from reports.html.texts import text
from verdict.probes.answers import place_of
from verdict.probes.explained import PARTS, Explanation, explain, in_words
from verdict.wording import figure

_ROOF = (0.1, 1000.0)
"""FLOPs a byte from which to which the roofline is drawn."""


def peaks_part(
    evidence: Evidence, cell: Cell, culprit: Culprit | None, prefix: str
) -> tuple[dict[str, Any], list[Chart]]:
    """Return what `templates/peaks.html` takes, and its chart; no rates where the probes were not made."""
    found = explain(evidence, cell)
    charts = [] if found is None else [roofline(found, f"{prefix}roofline")]
    return {
        "rates": _rates(evidence, culprit),
        "explained": Markup("") if found is None else explained_bar(found, dict(evidence.starts)),
        "words": "" if found is None else in_words(found),
        "charts": charts,
    }, charts


def explained_bar(found: Explanation, starts: Mapping[int, Any]) -> Markup:
    """Return the step of the explained rank as one bar, by its parts."""
    return stacked_bars(
        StackedBars(
            [text(f"explained.{part}") for part in PARTS],
            [Bar(place_of(found.rank, starts), [found.parts_ms[part] for part in PARTS], found.step_ms)],
            unit="ms",
            corner=text("explained.corner"),
            label=text("explained.title"),
        )
    )


def roofline(found: Explanation, identity: str) -> Chart:
    """Return FLOP/s over FLOPs a byte: the roof of the measured peaks, and the layers of the model below it.

    A layer is where the measured rates put it; convolutions are as far below the roof as they were measured.
    """
    ridge = found.gemm_tflops * 1e3 / found.memory_gb_per_s
    roof = [(at, min(found.gemm_tflops, at * found.memory_gb_per_s / 1e3)) for at in (_ROOF[0], ridge, _ROOF[1])]
    layers = {
        (one.flops / one.bytes, one.flops / (one.ms + one.below_ms) / 1e9)
        for one in found.layers
        if one.flops and one.bytes
    }
    curves = [Curve(text("roofline.roof"), roof), Curve(text("roofline.layers"), sorted(layers), style="points")]
    return x_y(
        identity,
        text("roofline.title"),
        curves,
        unit="TFLOP/s",
        x_label=text("roofline.intensity"),
        x_log=True,
        y_log=True,
        summary=text(
            "roofline.summary",
            ridge=figure(ridge),
            bound=sum(one.bound == "memory" for one in found.layers),
            n=len(found.layers),
        ),
    )


def _rates(evidence: Evidence, culprit: Culprit | None) -> dict[str, Any]:
    """Return a row for each thing that was measured, and a column for each rank."""
    ranks = [rank for rank in evidence.ranks if rank.rates]
    names = dict.fromkeys(one.name for rank in ranks for one in rank.rates)
    by_rank = [{one.name: one for one in rank.rates} for rank in ranks]
    return {
        "ranks": [
            {"name": str(rank.rank), "is_culprit": culprit is not None and culprit.rank == rank.rank} for rank in ranks
        ],
        "rows": [_row(name, [mine.get(name) for mine in by_rank]) for name in names],
    }


def _row(name: str, rates: Sequence[DeviceRate | None]) -> dict[str, Any]:
    known = next(one for one in rates if one is not None)
    return {
        "name": name,
        "unit": "TFLOP/s" if known.of in PRODUCTS else "GB/s",
        "cells": [
            {
                "text": "-" if one is None or one.error else figure(one.rate),
                "wrong": one is not None and bool(one.wrong or one.error),
            }
            for one in rates
        ],
    }
