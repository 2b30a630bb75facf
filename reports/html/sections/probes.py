"""What was asked of the devices themselves: operators as a heat map, and health before and after training."""

from __future__ import annotations

import math
from typing import Any, Mapping, Sequence

from markupsafe import Markup

from evidence.bundle import Evidence
from evidence.events.operators import WATCHED
from evidence.events.rank import RankEvidence
from evidence.events.setup import HOST_BACKENDS
from evidence.events.state import AFTER, BEFORE, Health
from evidence.verdict import MetricVerdict, Verdict
from reports.html.heatmap import HeatMap, Tile, heat_map
from reports.html.sections.diagnosis import Culprit
from reports.html.sections.metrics import badge, running_badge
from reports.html.texts import text
from verdict.probes.operators import OperatorVerdict, judge_agreement, judge_operators, judge_repeats
from verdict.wording import figure

_COUNTERS = ("ecc_corrected", "ecc_uncorrected", "retired_pages", "remapped_rows")
_PASSES = ("forward", "fprop", "backward", "dgrad", "wgrad", "bgrad")
_FAILS = ("ecc_uncorrected", "retired_pages", "remapped_rows")
"""Counters whose growth fails; corrected errors decide nothing."""


def probes_part(
    evidence: Evidence, health: MetricVerdict, culprit: Culprit | None, prefix: str, *, running: bool = False
) -> dict[str, Any]:
    """Return what `templates/probes.html` takes; `health` is the verdict on the devices' health.

    Of a `running` run health is not known yet: it is read again after training.
    """
    operators = judge_operators(evidence)
    decided = [health.verdict, *(one.verdict for one in operators.values())]
    repeated = [one for one in (judge_repeats(evidence), judge_agreement(evidence)) if one is not None]
    return {
        "failed": Verdict.FAIL in decided,
        "operators": heat_map(operators_map(operators, f"{prefix}operators")) if operators else Markup(""),
        "agreement": [{"badge": badge(one.verdict), "name": one.question, "reason": one.reason} for one in repeated],
        "health": {
            **_health(evidence, health, culprit),
            **({"badge": running_badge(), "reason": ""} if running else {}),
        },
    }


def operators_map(found: Mapping[str, OperatorVerdict], identity: str) -> HeatMap:
    """Return the operators by dtype and pass, each by its worst case, the nearest to its bound first."""
    asked = [(one, one.worst) for one in found.values()]
    known = [(one, worst) for one, worst in asked if worst is not None]
    worst_of: dict[str, float] = {}
    for one, worst in known:
        margin = math.inf if math.isnan(one.margin) else one.margin
        worst_of[worst.operator] = max(worst_of.get(worst.operator, 0.0), margin)
    rows = sorted(worst_of, key=lambda name: (-worst_of[name], name))
    columns = sorted({(worst.dtype, worst.direction) for _, worst in known}, key=_place)
    dtypes = sorted({dtype for dtype, _ in columns})
    tiles = {
        (rows.index(worst.operator), columns.index((worst.dtype, worst.direction))): _tile(one) for one, worst in known
    }
    failed = [one.question for one, _ in known if one.verdict is not Verdict.PASS]
    nearest = max(known, key=lambda one: one[0].margin)[0]
    summary = text("operators.pass", n=len(known), nearest=nearest.question, share=_share(nearest.margin))
    if failed:
        shown = ", ".join(failed[:8]) + (", ..." if len(failed) > 8 else "")
        summary = text("operators.fail", n=len(known), failed=len(failed), questions=shown)
    return HeatMap(
        id=identity,
        title=text("operators.title"),
        rows=rows,
        columns=[direction for _, direction in columns],
        tiles=tiles,
        groups=[(dtype, sum(one == dtype for one, _ in columns)) for dtype in dtypes],
        corner=text("operators.corner"),
        measure=text("operators.measure"),
        summary=summary,
    )


def _place(column: tuple[str, str]) -> tuple[str, int, str]:
    """Return what orders columns: by dtype, and within it in the order of a training step."""
    dtype, direction = column
    return dtype, _PASSES.index(direction) if direction in _PASSES else len(_PASSES), direction


def _tile(one: OperatorVerdict) -> Tile:
    worst = one.worst
    assert worst is not None
    details = {
        text("operators.question"): one.question,
        text("column.verdict"): text(f"state.{one.verdict}"),
        text("operators.share"): _share(one.margin),
        text("column.why"): one.reason,
        text("operators.rule"): worst.rule,
        text("operators.case"): worst.shape,
        text("column.rank"): str(one.rank),
        text("operators.elements"): f"{worst.wrong} / {worst.elements}",
        text("operators.error"): f"{figure(worst.worst)} / {figure(worst.honest)}",
        text("operators.cases"): str(one.cases),
    }
    if worst.rule == WATCHED and not worst.error:
        return Tile(text("state.recorded"), None, details)
    return Tile(_share(one.margin), one.margin, details)


def _share(margin: float) -> str:
    return f"{margin:.0%}" if math.isfinite(margin) and margin < 100 else f"{margin:.1e}x" if margin < math.inf else "∞"


def _health(evidence: Evidence, health: MetricVerdict, culprit: Culprit | None) -> dict[str, Any]:
    rows = [
        _health_row(rank, culprit)
        for rank in evidence.ranks
        if rank.start is not None and rank.health and rank.start.backend not in HOST_BACKENDS
    ]
    names = [text(f"health.{name}") for name in (*_COUNTERS, "pcie", "link_errors", "kernel_log")]
    return {
        "badge": badge(health.verdict),
        "passed": health.verdict is Verdict.PASS,
        "reason": health.reason,
        "rows": rows,
        "columns": names,
    }


def _health_row(rank: RankEvidence, culprit: Culprit | None) -> dict[str, Any]:
    assert rank.start is not None
    before = next((one for one in rank.health if one.when == BEFORE), None)
    after = next((one for one in reversed(rank.health) if one.when == AFTER), None)
    pair = (before, after)
    cells = [_change([getattr(one, name, None) for one in pair], name in _FAILS) for name in _COUNTERS]
    cells += [_change([_pcie(one) for one in pair], False)]
    cells += [_change([None if one is None else sum(one.link_errors.values()) for one in pair], False)]
    lines = None if after is None or after.kernel_log is None else len(after.kernel_log)
    cells += [{"text": "-" if lines is None else str(lines), "grown": False}]
    known: Sequence[Health] = [one for one in pair if one is not None]
    return {
        "host": rank.start.host,
        "card": rank.start.card,
        "is_culprit": culprit is not None and culprit.rank == rank.rank,
        "pci": next((one.pci for one in known if one.pci), "-"),
        "cells": cells,
        "sources": ", ".join(dict.fromkeys(source for one in known for source in one.sources)) or "-",
    }


def _change(pair: Sequence[Any], fails: bool) -> dict[str, Any]:
    """Return a reading before and after training: one number if it stayed, "3 → 4" if not, "-" if it was not read."""
    first, last = pair
    shown = ["-" if one is None else str(one) for one in pair]
    grown = fails and isinstance(first, int) and isinstance(last, int) and last > first
    return {"text": shown[0] if first == last else " → ".join(shown), "grown": grown}


def _pcie(one: Health | None) -> str | None:
    if one is None or (one.pcie_width is None and one.pcie_generation is None):
        return None
    width = f"x{one.pcie_width or '?'}/{one.pcie_width_max or '?'}"
    return f"{width} gen {one.pcie_generation or '?'}/{one.pcie_generation_max or '?'}"
