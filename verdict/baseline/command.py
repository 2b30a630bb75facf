"""`python -m verdict accept RUN_DIR RUN_DIR RUN_DIR --out site.toml`: makes runs the measure of those to come."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

from evidence.errors import SuiteError
from expected import METRICS, Site, load_devices
from verdict.baseline.accept import Acceptance, accept_runs
from verdict.baseline.file import add_accepted
from verdict.baseline.spread import AcceptedValue, in_words
from verdict.wording import quantity

EXIT_ACCEPTED, EXIT_REFUSED = 0, 2

_HEADINGS = ("metric", "value", "tolerance", "bound", "runs")


def main(argv: Sequence[str]) -> int:
    """Accept the runs into the file given, list what was accepted, return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m verdict accept",
        description="Accept what three runs or more of a cell measured, where the vendor publishes nothing.",
    )
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="a run's folder; three or more")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the site's baseline, a TOML file")
    parser.add_argument(
        "--without", action="append", default=[], choices=tuple(METRICS), help="leave a metric out; may be repeated"
    )
    arguments = parser.parse_args(argv)
    try:
        devices = load_devices()
        acceptance = accept_runs(arguments.run_dirs, devices, arguments.without)
        site = add_accepted(arguments.out, acceptance, devices)
    except SuiteError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    print("\n".join(_lines(acceptance, site)))
    return EXIT_ACCEPTED


def _lines(acceptance: Acceptance, site: Site) -> list[str]:
    origin = acceptance.runs[0]
    simulated = " (simulated)" if origin.simulated else ""
    lines = [f"{acceptance.cell.id} {origin.protocol}{simulated}: accepted into {site.path}", ""]
    rows = [_HEADINGS, *(_row(acceptance, value, site) for value in acceptance.values)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines += ["   ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    if acceptance.left_out:
        lines += ["", *(f"{name}: not accepted: {why}" for name, why in acceptance.left_out.items())]
    if acceptance.notes:
        lines += ["", *(f"note: {note}" for note in acceptance.notes)]
    return lines


def _row(acceptance: Acceptance, value: AcceptedValue, site: Site) -> tuple[str, ...]:
    metric, known = METRICS[value.metric], site.accepted[acceptance.cell.id, value.metric]
    sign, bound = (">=", known.low) if metric.better == "higher" else ("<=", known.high)
    runs = f"{len(value.kept)} of {len(value.readings)}"
    if value.trimmed:
        runs += f", trimmed {', '.join(value.trimmed)}"
    limit = quantity(bound or 0.0, metric.unit)
    return (
        metric.name,
        quantity(value.value, metric.unit),
        in_words(metric.name, value.tolerance),
        f"{sign} {limit}",
        runs,
    )
