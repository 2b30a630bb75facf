"""`python -m reports history`: lists the runs that were entered, and enters more."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

from evidence.bundle import Evidence, read_run
from evidence.errors import SuiteError
from evidence.verdict import encode, read_verdict
from expected import METRICS, load_devices
from reports.escapes import visible
from reports.history import HistoryError, default_url
from reports.numbers import quantity
from reports.terminal.console import aligned
from verdict.judge import INVALID, judge_run
from verdict.lookup import find_cell

if TYPE_CHECKING:
    from reports.history.entry import Entry
    from reports.history.queries import StoredRun

DEFAULT_RUNS = Path("runs")
_HEADINGS = ("number", "started (UTC)", "cell", "protocol", "release", "outcome", *METRICS, "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be asked for."""
    add_place(parser)
    parser.add_argument("--device", metavar="M", help="only runs of the device with this marker")
    parser.add_argument("--cell", metavar="ID", help="only runs of this cell")
    parser.add_argument("--limit", type=_count, metavar="N", default=50, help="the newest N runs; default %(default)s")
    parser.add_argument("--add", type=Path, nargs="+", default=[], metavar="RUN_DIR", help="enter these runs first")
    parser.add_argument("--release", default="", metavar="LABEL", help="file the runs of --add under this label")


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the history is."""
    parser.add_argument(
        "--history",
        metavar="URL",
        help="any database that SQLAlchemy knows; default: history.sqlite in the runs folder",
    )
    parser.add_argument("--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR", help="default: %(default)s/")


def place(arguments: argparse.Namespace) -> str:
    """Return the URL of the history that is meant."""
    return str(arguments.history or default_url(arguments.runs))


def main(arguments: argparse.Namespace) -> int:
    """Enter the runs of --add, print the table and return the exit code."""
    from reports.history.database import open_history
    from reports.history.queries import runs

    with open_history(place(arguments), create=bool(arguments.add)) as history:
        if arguments.add:
            count = history.enter(_entries(arguments.add, arguments.release))
            print(f"entered {count} run{'s' * (count != 1)} in {history.address}\n")
        with history.reading() as connection:
            found = runs(connection, device=arguments.device, cell=arguments.cell, limit=arguments.limit)
    print("\n".join(_table(found)) if found else "no run of this kind was entered yet")
    return 0


def _entries(run_dirs: Sequence[Path], release: str) -> Iterator[Entry]:
    from reports.history.entry import read_entry

    devices = load_devices()
    for run_dir in run_dirs:
        evidence = read_run(run_dir)
        yield read_entry(run_dir, _verdict(evidence, devices), release=release, evidence=evidence)


def _verdict(evidence: Evidence, devices: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the verdict that was written, which knows the site's baseline; of evidence with problems, a new one."""
    try:
        stored = read_verdict(evidence.path)
        if not evidence.problems or stored.outcome == INVALID:
            return encode(stored)
    except SuiteError:
        pass  # never judged, or by an older version
    try:
        device, cell = find_cell(evidence, devices)
    except SuiteError as error:
        raise HistoryError(f"nothing can be entered of this run: {error}") from None
    return encode(judge_run(evidence, cell, backend=device.backend))


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")
    return int(text)


def _table(found: Sequence[StoredRun]) -> list[str]:
    shown = [name for name in METRICS if any(name in one.metrics for one in found)]
    headings = [name for name in _HEADINGS if name not in METRICS or name in shown]
    rows = [headings, *(_row(one, shown) for one in found)]
    return [line.text for line in aligned(rows, [""] * len(rows))]


def _row(run: StoredRun, metrics: Sequence[str]) -> list[str]:
    protocol = f"{run.protocol}{' (simulated)' * run.simulated}{f', restarted {run.restarts}x' * bool(run.restarts)}"
    words = (run.started_utc[:19].replace("T", " "), run.cell_id, protocol, run.release, run.outcome)
    values = [run.metrics.get(name) for name in metrics]
    numbers = ["-" if value is None else quantity(value.measured, value.unit) for value in values]
    return [str(run.number), *(visible(word) or "-" for word in words), *map(visible, numbers), run.name]
