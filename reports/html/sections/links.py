"""The links between devices and hosts: bandwidth over size with DDP's buckets marked, and every pair as a heat map."""

from __future__ import annotations

import statistics
from typing import Any, Sequence

from markupsafe import Markup

from evidence.bundle import Evidence
from evidence.events.links import COLLECTIVES, HOSTS, shown_bytes
from expected import Cell
from reports.html.charts import Chart, Curve, Mark, x_y
from reports.html.heatmap import HeatMap, Tile, heat_map
from reports.html.texts import text
from verdict.metrics.links import PairRate, pair_rates, timed
from verdict.probes.links import ODD_PAIR, least_rate


def links_part(evidence: Evidence, cell: Cell, prefix: str) -> tuple[dict[str, Any], list[Chart]]:
    """Return what `templates/links.html` takes, and its chart; nothing of a run that was not asked."""
    chart = bandwidth_chart(evidence, prefix)
    groups: dict[tuple[str, str], list[PairRate]] = {}
    starts = dict(evidence.starts)
    for pair in pair_rates(evidence):
        start = starts.get(pair.ranks[0])
        host = "" if pair.between == HOSTS or start is None else start.host
        groups.setdefault((pair.between, host), []).append(pair)
    maps = [
        heat_map(pair_map(pairs, cell, host, f"{prefix}pairs-{number}"))
        for number, ((_, host), pairs) in enumerate(groups.items())
    ]
    return {"chart": chart, "pairs": Markup("").join(maps)}, [] if chart is None else [chart]


def bandwidth_chart(evidence: Evidence, prefix: str) -> Chart | None:
    """Return bus bandwidth over size by collective; None if fewer than two sizes were timed."""
    known = {name: [(one.case.bytes, one.gb_per_s) for one in timed(evidence, name)] for name in COLLECTIVES}
    if sum(map(len, known.values())) < 2:
        return None
    done = next(rank.links_done for rank in evidence.ranks if rank.links_done is not None)
    return x_y(
        f"{prefix}bandwidth",
        text("links.bandwidth"),
        [Curve(name, points, "line" if len(points) > 1 else "points") for name, points in known.items() if points],
        unit="GB/s",
        kind="bytes",
        x_label=text("links.size"),
        x_log=True,
        y_log=True,
        marks=[Mark(f"{text('links.bucket')} {shown_bytes(size)}", size) for size in done.buckets],
        summary=text("links.how_to_read"),
    )


def pair_map(pairs: Sequence[PairRate], cell: Cell, host: str, identity: str) -> HeatMap:
    """Return the rates of pairs, each ranked by what is published, or by the median of all."""
    between = pairs[0].between
    members = sorted({rank for pair in pairs for rank in pair.ranks})
    bound, _ = least_rate(cell, between)
    least = ODD_PAIR * statistics.median(pair.gb_per_s for pair in pairs) if bound is None else bound
    unit, factor = ("Gb/s", 8.0) if between == HOSTS else ("GB/s", 1.0)
    tiles = {}
    for pair in pairs:
        found = f"{pair.gb_per_s * factor:.4g}"
        details = {
            text("links.pair"): " - ".join(map(str, pair.ranks)),
            text("links.found"): f"{found} {unit}",
            text("links.least"): f"{least * factor:.4g} {unit}",
            text("links.size"): shown_bytes(pair.bytes),
        }
        low, high = (members.index(rank) for rank in pair.ranks)
        tiles[low, high] = tiles[high, low] = Tile(found, least / pair.gb_per_s, details)
    names = [str(rank) for rank in members]
    return HeatMap(
        id=identity,
        title=text("links.of_hosts" if between == HOSTS else "links.of_devices", unit=unit, host=host),
        rows=names,
        columns=names,
        tiles=tiles,
        corner=text("column.rank"),
        measure=text("links.measure_median" if bound is None else "links.measure"),
    )
