"""The commands of `python -m reports`. Each imports the libraries that it needs only when it is run."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Sequence

from evidence.bundle import Evidence, no_collections, read_run
from evidence.errors import SuiteError
from evidence.files import write_whole
from evidence.text import visible
from evidence.verdict import RunVerdict, Verdict, read_verdict
from expected import ALL_METRICS, load_device, load_devices
from reports.history import HistoryError, default_url
from reports.lines import Line, aligned, print_lines
from verdict.environment.findings import environment_findings
from verdict.judge import judge_run, judge_stored
from verdict.lookup import find_cell
from verdict.wording import counted, quantity

if TYPE_CHECKING:
    from reports.history.entry import Entry
    from reports.history.queries import StoredRun

RUN_PAGE = "report.html"
TREND_PAGE = "trend.html"
EXIT_NOT_COMPARABLE = 2
EXIT_WORSE = 1

FORMS = ("published", "template")
"""Of `table --document`: as the vendor's published document has it, or FlagPerf's template for such documents."""

_RUN_HEADINGS = ("number", "started (UTC)", "cell", "protocol", "release", "outcome", *ALL_METRICS, "run")


@dataclass(frozen=True)
class Command:
    """A subcommand: its purpose, the function that declares its arguments, and the one that runs it."""

    purpose: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def _table_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="a run's folder, one for each row")
    parser.add_argument("--file", type=Path, metavar="DEVICE.toml", help="the device file, where it is not shipped")
    parser.add_argument("--document", action="store_true", help="the whole section: environment, metrics, table")
    parser.add_argument(
        "--form",
        choices=FORMS,
        default=FORMS[0],
        help="with --document: as the vendor published, or FlagPerf's template",
    )
    parser.add_argument("--anonymous", action="store_true", help="leave the runs' folders out")
    parser.add_argument("--map", choices=("percent", "share"), help="how mAP is printed (default: as the vendor does)")
    parser.add_argument("--exact", action="store_true", help="measurements with all their digits, not with four")


def _table(arguments: argparse.Namespace) -> int:
    """Print the table of the device that the runs are of."""
    from reports.vendor_document import document_lines
    from reports.vendor_table import fill, style_of, table_lines

    devices = dict(load_devices())
    if arguments.file is not None:
        own = load_device(arguments.file)
        devices[own.marker] = own
    device, fillings = fill(arguments.run_dirs, devices, anonymous=arguments.anonymous)
    style = style_of(device, exact=arguments.exact)
    if arguments.map:
        style = replace(style, percent=arguments.map == "percent")
    if arguments.document:
        lines = document_lines(device, fillings, style, arguments.form)
    else:
        lines = table_lines(device, fillings, style)
    # The table is Chinese; a terminal that is not prints escapes of what it cannot show.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    print("\n".join(lines))
    return 0


def _html_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, help="the run's folder, with run.json and rank-NNNN.jsonl")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"where the page goes (default: RUN_DIR/{RUN_PAGE})")


def _html(arguments: argparse.Namespace) -> int:
    """Judge a run by the shipped tables and write its page."""
    from reports.html.pages import PageOf, run_page

    shown = shlex.quote(str(arguments.run_dir))
    commands = {"again": f"pytest --replay={shown}", "page": f"python -m reports html {shown}"}
    page = PageOf(judge_stored(arguments.run_dir, load_devices()), str(arguments.run_dir), commands)
    _write_page(arguments.out or arguments.run_dir / RUN_PAGE, run_page(page))
    return 0


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--history",
        metavar="URL",
        help="any database that SQLAlchemy knows; default: history.sqlite in the runs folder",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="default: %(default)s/")


def _place(arguments: argparse.Namespace) -> str:
    return str(arguments.history or default_url(arguments.runs))


def _history_arguments(parser: argparse.ArgumentParser) -> None:
    _add_place(parser)
    parser.add_argument("--device", metavar="M", help="only runs of the device with this marker")
    parser.add_argument("--cell", metavar="ID", help="only runs of this cell")
    parser.add_argument("--limit", type=_count, metavar="N", default=50, help="the newest N runs; default %(default)s")
    parser.add_argument("--add", type=Path, nargs="+", default=[], metavar="RUN_DIR", help="enter these runs first")
    parser.add_argument("--release", default="", metavar="LABEL", help="file the runs of --add under this label")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")
    return int(text)


def _history(arguments: argparse.Namespace) -> int:
    """Enter the runs of --add, and list the runs of the history."""
    from reports.history.database import open_history
    from reports.history.queries import runs

    with open_history(_place(arguments), create=bool(arguments.add)) as history:
        if arguments.add:
            count = history.enter(_entries(arguments.add, arguments.release))
            print(f"entered {counted(count, 'run')} in {history.address}\n")
        with history.reading() as connection:
            found = runs(connection, device=arguments.device, cell=arguments.cell, limit=arguments.limit)
    print_lines(_run_table(found) if found else ["no run of this kind was entered yet"])
    return 0


def _entries(run_dirs: Sequence[Path], release: str) -> Iterator[Entry]:
    from reports.history.entry import read_entry

    devices = load_devices()
    for run_dir in run_dirs:
        evidence = read_run(run_dir)
        stored = _stored_verdict(evidence)
        try:
            device, cell = find_cell(evidence, devices)
        except SuiteError as error:
            if stored is None:
                raise HistoryError(f"nothing can be entered of this run: {error}") from None
            yield read_entry(evidence, stored, (), release=release)
            continue
        verdict = stored or judge_run(evidence, cell, backend=device.backend)
        yield read_entry(evidence, verdict, environment_findings(evidence, device), release=release)


def _stored_verdict(evidence: Evidence) -> RunVerdict | None:
    """Return the verdict that was written, which knows the site's baseline; None if it is absent or out of date."""
    try:
        stored = read_verdict(evidence.path)
    except SuiteError:
        return None  # never judged, or by a version with another format
    return None if evidence.problems and stored.outcome is not Verdict.INVALID else stored


def _run_table(found: Sequence[StoredRun]) -> list[Line]:
    shown = [name for name in ALL_METRICS if any(name in one.metrics for one in found)]
    headings = [name for name in _RUN_HEADINGS if name not in ALL_METRICS or name in shown]
    return aligned([headings, *(_run_row(one, shown) for one in found)])


def _run_row(run: StoredRun, metrics: Sequence[str]) -> list[str]:
    protocol = f"{run.protocol}{' (simulated)' * run.simulated}{f', restarted {run.restarts}x' * bool(run.restarts)}"
    words = (run.started_utc[:19].replace("T", " "), run.cell_id, protocol, run.release, run.outcome)
    values = [run.metrics.get(name) for name in metrics]
    numbers = ["-" if value is None else quantity(value.measured, value.unit) for value in values]
    return [str(run.number), *(visible(word) or "-" for word in words), *map(visible, numbers), run.name]


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="a run's folder, or its id or number in the history")
    parser.add_argument("second", metavar="B", help="what is compared with it")
    parser.add_argument(
        "--by", choices=("run", "release"), default="run", help="what A and B name; with release, two labels"
    )
    parser.add_argument("--cell", metavar="ID", help="with --by release: only this cell")
    parser.add_argument(
        "--fail-on",
        choices=("worse",),
        help=f"exit with {EXIT_WORSE} if a metric of B is shown to be worse than A's",
    )
    _add_place(parser)


def _compare(arguments: argparse.Namespace) -> int:
    """Print the comparison of two runs or releases, or why they are not comparable."""
    from reports.compare import comparisons, run_lines, side_of_folder, side_of_history, worse
    from verdict.compare.comparability import refusals

    if arguments.by == "release":
        return _compare_releases(arguments)
    devices = load_devices()
    first, second = (
        side_of_folder(Path(word), devices)
        if Path(word).is_dir()
        else side_of_history(_place(arguments), word, devices, arguments.runs)
        for word in (arguments.first, arguments.second)
    )
    why = refusals(first.candidate, second.candidate)
    if why:
        return _refuse(f"{first.candidate.name} and {second.candidate.name}", why)
    found = list(comparisons(first, second))
    print_lines(run_lines(first, second, found))
    return EXIT_WORSE if arguments.fail_on and worse(found) else 0


def _compare_releases(arguments: argparse.Namespace) -> int:
    from reports.compare import group_lines, read_groups, worse

    groups = read_groups(_place(arguments), arguments.first, arguments.second, arguments.cell)
    if not groups:
        raise HistoryError(
            f"found no cell with valid runs of both {visible(arguments.first)} and {visible(arguments.second)}; "
            "python -m reports history lists the runs and the releases that they are filed under"
        )
    codes = [0]
    for at, group in enumerate(groups):
        print("\n" * bool(at) + visible(group.cell_id))
        if group.refused:
            codes.append(_refuse("the runs of the two releases", group.refused))
            continue
        print_lines(group_lines(group))
        codes.append(EXIT_WORSE if arguments.fail_on and worse(group.comparisons) else 0)
    return max(codes)


def _refuse(what: str, why: Sequence[str]) -> int:
    print("\n".join([f"{what} cannot be compared:", *(f"  {visible(reason)}" for reason in why)]))
    return EXIT_NOT_COMPARABLE


def _trend_arguments(parser: argparse.ArgumentParser) -> None:
    _add_place(parser)
    parser.add_argument("--cell", metavar="ID", help="only this cell; default: all")
    parser.add_argument("--out", type=Path, default=Path(TREND_PAGE), metavar="FILE", help="default: %(default)s")


def _trend(arguments: argparse.Namespace) -> int:
    """Write the page of every metric over the runs of the history."""
    from reports.history.database import open_history
    from reports.history.queries import cells, time_series
    from reports.history.trend import trend_page

    with no_collections(), open_history(_place(arguments)) as history:
        with history.reading() as connection:
            found = time_series(connection, arguments.cell)
            if arguments.cell is not None and not found:
                known = visible(", ".join(cells(connection))) or "none"
                raise SuiteError(f"--cell: found no run of {visible(arguments.cell)}, expected one of {known}")
        text = trend_page(found, str(history.address))
    _write_page(arguments.out, text)
    return 0


def _write_page(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise SuiteError(
            f"{path}: the page cannot be written ({error.strerror}); name another file with --out"
        ) from None
    print(visible(str(path)))


COMMANDS = {
    "table": Command("the vendor's table, its blank cells filled from runs", _table_arguments, _table),
    "html": Command("the page of a run, made anew", _html_arguments, _html),
    "history": Command("the runs that were entered in the history, and entering more", _history_arguments, _history),
    "compare": Command("two runs of a cell held against each other", _compare_arguments, _compare),
    "trend": Command("a page of every metric over the releases in the history", _trend_arguments, _trend),
}
