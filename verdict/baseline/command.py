"""`python -m verdict accept RUN_DIR RUN_DIR RUN_DIR --out site.toml`: writes a site's baseline file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Mapping, Sequence

from evidence.codec import encode
from evidence.command_line import add_json, examples, exit_code_of, print_json
from evidence.files import write_whole
from expected import (
    ALL_METRICS,
    FURTHER_METRICS,
    METRICS,
    PUBLISHED,
    Cell,
    Device,
    Expectation,
    Metric,
    Site,
    load_devices,
    load_site,
)
from expected.site import SITE_SCHEMA, check_site
from expected.toml_file import parse_toml
from verdict.baseline.accept import Acceptance, AcceptedValue, AcceptError, accept_runs, in_words
from verdict.wording import bounds, quantity

EXIT_ACCEPTED = 0

_HEAD = f"# What this site holds its runs against where the vendor publishes nothing.\nschema = {SITE_SCHEMA}\n"
_HEADINGS = ("metric", "value", "tolerance", "bound", "runs")


def main(argv: Sequence[str], prog: str = "python -m verdict accept") -> int:
    """Accept the runs into the file given, list what was accepted, return the exit code."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Accept what three runs or more of a cell measured, where the vendor publishes nothing.",
        **examples(
            "%(prog)s runs/<first> runs/<second> runs/<third> --out site.toml",
            "pytest -m r300 --topo 1x8 --gate --baseline=site.toml   # hold the next runs against it",
        ),
    )
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="a run's folder; three or more")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the site's baseline, a TOML file")
    parser.add_argument(
        "--without", action="append", default=[], choices=tuple(METRICS), help="leave a metric out; may be repeated"
    )
    parser.add_argument(
        "--with",
        action="append",
        default=[],
        dest="further",
        choices=tuple(FURTHER_METRICS),
        help="accept a metric that no table has, too; may be repeated",
    )
    add_json(parser)
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: _accept(arguments))


def _accept(arguments: argparse.Namespace) -> int:
    devices = load_devices()
    acceptance = accept_runs(arguments.run_dirs, devices, arguments.without, arguments.further)
    site = add_accepted(arguments.out, acceptance, devices)
    if arguments.json:
        accepted = [_block(acceptance, value) for value in acceptance.values]
        print_json({"file": str(site.path), "accepted": accepted, "left_out": encode(acceptance.left_out)})
    else:
        print("\n".join(_lines(acceptance, site)))
    return EXIT_ACCEPTED


def add_accepted(path: Path, acceptance: Acceptance, devices: Mapping[str, Device]) -> Site:
    """Append the values to the file at `path`, which is created if needed, and return the file's content.

    The file is replaced atomically, the rest of it unchanged. Raises AcceptError if it has accepted values of the cell
    already or cannot be written, ExpectationError if it is no baseline.
    """
    path = Path(os.path.realpath(str(path)))  # replace the file that a link points to, not the link
    before = _HEAD
    if path.exists():
        _refuse_second(load_site(path, devices), acceptance.cell.id)
        before = path.read_bytes().decode("utf-8")
    content = before + ("" if before.endswith("\n") else "\n") + "\n" + to_toml(acceptance)
    site = check_site(parse_toml(content.encode("utf-8"), path), path, devices)
    try:
        write_whole(path, content)
    except OSError as error:
        raise AcceptError(f"{path}: cannot be written: {error.strerror or error}") from error
    return site


def to_toml(acceptance: Acceptance) -> str:
    """The values as [[accepted]] blocks."""
    import tomli_w  # here, so that judging does without it

    return tomli_w.dumps({"accepted": [_block(acceptance, value) for value in acceptance.values]})


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
    metric, known = ALL_METRICS[value.metric], site.accepted[acceptance.cell.id, value.metric]
    runs = f"{len(value.kept)} of {len(value.readings)}"
    if value.trimmed:
        runs += f", trimmed {', '.join(value.trimmed)}"
    return (
        metric.name,
        quantity(value.value, metric.unit),
        in_words(metric.name, value.tolerance),
        _bound(metric, known),
        runs,
    )


def _bound(metric: Metric, known: Expectation) -> str:
    if metric.is_two_sided:
        return bounds(known.low, known.high, metric.unit)
    sign, bound = (">=", known.low) if metric.better == "higher" else ("<=", known.high)
    return f"{sign} {quantity(bound or 0.0, metric.unit)}"


def _block(acceptance: Acceptance, value: AcceptedValue) -> dict[str, Any]:
    # Every fact below is the same for all runs, or they would not have been accepted together.
    origin = acceptance.runs[0]
    return {
        "cell": acceptance.cell.id,
        "metric": value.metric,
        "unit": ALL_METRICS[value.metric].unit,
        "value": value.value,
        "tolerance": value.tolerance,
        **({"clock": _clock(acceptance.cell)} if value.metric == "p_core" else {}),
        "provenance": {
            "protocol": origin.protocol,
            "simulated": origin.simulated,
            "card": origin.card,
            **({"driver": origin.driver} if origin.driver else {}),
            "runs": [run.run for run in acceptance.runs],
            "dates": [run.started_utc for run in acceptance.runs],
            "measured": [value.readings[run.run] for run in acceptance.runs],
            "trimmed": list(value.trimmed),
            "versions": dict(origin.versions),
            **({"annotations": dict(origin.annotations)} if origin.annotations else {}),
        },
    }


def _clock(cell: Cell) -> str:
    """The clock of an accepted p_core: the device's, but beside a published number that one's."""
    return cell.timing if cell.expectations["p_core"].state == PUBLISHED else "device"


def _refuse_second(site: Site, cell_id: str) -> None:
    blocks = [
        f"accepted[{number}] ({metric})"
        for number, (cell, metric) in enumerate(site.accepted, start=1)
        if cell == cell_id
    ]
    if blocks:
        raise AcceptError(
            f"{site.path}: found accepted values of {cell_id} already; delete {', '.join(blocks)}, counted from the "
            "top of the file, and accept again"
        )
