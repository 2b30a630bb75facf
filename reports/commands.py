"""The commands of `python -m reports`. Each imports the libraries that it needs only when it is run."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Sequence, TextIO

from evidence.bundle import Evidence, no_collections, read_run, with_signature
from evidence.codec import encode
from evidence.command_line import EXIT_REFUSED, print_json
from evidence.errors import SuiteError
from evidence.files import write_whole
from evidence.growing import GrowingRun
from evidence.text import visible
from evidence.verdict import RunVerdict, Verdict, read_verdict
from expected import ALL_METRICS, load_device, load_devices
from reports.history import HistoryError, default_url
from reports.html.texts import LANGUAGES
from reports.lines import Line, aligned, print_lines
from verdict.environment.findings import environment_findings
from verdict.judge import Judged, judge, judge_run, judge_so_far, judge_stored
from verdict.lookup import find_cell
from verdict.wording import counted, quantity

if TYPE_CHECKING:
    from reports.history.entry import Entry
    from reports.history.queries import StoredRun
    from reports.html.comparison import Compared
    from reports.html.pages import PageOf

RUN_PAGE = "report.html"
CERTIFICATE = "certificate.html"
TREND_PAGE = "trend.html"
EXIT_WORSE = 1

FORMS = ("published", "template")
"""Of `table --document`: as the vendor's published document has it, or FlagPerf's template for such documents."""

_RUN = "runs/20261123T101200Z-r300-1x8-fp32"  # in examples
_RUN_HEADINGS = ("number", "started (UTC)", "cell", "protocol", "release", "outcome", *ALL_METRICS, "run")


@dataclass(frozen=True)
class Command:
    """A subcommand: its purpose, the function that declares its arguments, and the one that runs it.

    `examples` are command lines with %(prog)s for the command; one that prints a table has `--json` too.
    """

    purpose: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    examples: tuple[str, ...]
    prints_table: bool = True
    aliases: tuple[str, ...] = ()


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
    if arguments.json:
        print_json({"device": device.marker, "rows": encode(fillings)})
        return 0
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


def _add_page(parser: argparse.ArgumentParser, flag: str, purpose: str) -> None:
    parser.add_argument(flag, type=Path, metavar="FILE", help=purpose)
    parser.add_argument("--language", choices=LANGUAGES, default=LANGUAGES[0], help="of the page; default: %(default)s")


def _html_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, help="the run's folder, with run.json and rank-NNNN.jsonl")
    _add_page(parser, "--out", f"where the page goes (default: RUN_DIR/{RUN_PAGE})")


def _html(arguments: argparse.Namespace) -> int:
    """Judge a run by the shipped tables and write its page."""
    from reports.html.pages import run_page, running_page
    from reports.html.texts import in_language

    judged, make = judge_stored(arguments.run_dir, load_devices()), run_page
    run = judged.evidence.run
    if run is not None and not run.has_ended:
        judged, make = judge_so_far(GrowingRun(arguments.run_dir).read(), judged.device, judged.cell), running_page
    with in_language(arguments.language):
        _write_page(arguments.out or arguments.run_dir / RUN_PAGE, make(_page_of(judged, arguments.run_dir)))
    return 0


def _page_of(judged: Judged, run_dir: Path) -> PageOf:
    from reports.html.pages import PageOf

    shown = shlex.quote(str(run_dir))
    commands = {"again": f"pytest --replay={shown}", "page": f"python -m reports html {shown}"}
    return PageOf(judged, str(run_dir), commands)


def _certificate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run's folder")
    parser.add_argument(
        "--allowed-signers", type=Path, metavar="FILE", help="verify the seal's signature against this file of OpenSSH"
    )
    _add_page(parser, "--out", f"where the certificate goes (default: RUN_DIR/{CERTIFICATE})")


def _certificate(arguments: argparse.Namespace) -> int:
    """Judge a run by the shipped tables and write its certificate."""
    from reports.html.certificate import certificate_page
    from reports.html.texts import in_language

    evidence = read_run(arguments.run_dir)
    if arguments.allowed_signers is not None:
        evidence = with_signature(evidence, arguments.allowed_signers)
    judged = judge(evidence, *find_cell(evidence, load_devices()))
    with in_language(arguments.language):
        text = certificate_page(_page_of(judged, arguments.run_dir))
    _write_page(arguments.out or arguments.run_dir / CERTIFICATE, text)
    return 0


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--history",
        metavar="FILE",
        help="an SQLite file, or the URL of any database that SQLAlchemy knows; default: history.sqlite in the runs "
        "folder",
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
            entered = f"entered {counted(count, 'run')} in {history.address}"
            print(entered, file=sys.stderr) if arguments.json else print(f"{entered}\n")
        with history.reading() as connection:
            found = runs(connection, device=arguments.device, cell=arguments.cell, limit=arguments.limit)
    if arguments.json:
        print_json({"runs": encode(found)})
    else:
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
    _add_page(parser, "--page", "also write the comparison as a page")
    _add_place(parser)


def _compare(arguments: argparse.Namespace) -> int:
    """Print the comparison of two runs or releases, or why they are not comparable."""
    from reports.compare import comparison_records, comparisons, run_lines, side_of_folder, side_of_history, worse
    from reports.html.comparison import Compared
    from verdict.compare.comparability import differing, refusals

    if arguments.by == "release":
        return _compare_releases(arguments)
    devices = load_devices()
    first, second = (
        side_of_folder(Path(word), devices)
        if Path(word).is_dir()
        else side_of_history(_place(arguments), word, devices, arguments.runs)
        for word in (arguments.first, arguments.second)
    )
    names, why = (first.candidate.name, second.candidate.name), refusals(first.candidate, second.candidate)
    found = [] if why else list(comparisons(first, second))
    if arguments.page is not None:
        changed = list(differing(first.versions, second.versions))
        title = " ".join(first.candidate.facts.get(name, "?") for name in ("device", "topology", "precision"))
        one = Compared(title, (first.shown, second.shown), found, changed, (first.samples, second.samples), why)
        _write_comparison(arguments, [one])
    if arguments.json:
        print_json({"a": names[0], "b": names[1], "refused": why, "metrics": comparison_records(found)})
    if why:
        return _refuse(" and ".join(names), why, arguments)
    if not arguments.json:
        print_lines(run_lines(first, second, found))
    return EXIT_WORSE if arguments.fail_on and worse(found) else 0


def _compare_releases(arguments: argparse.Namespace) -> int:
    from reports.compare import comparison_records, group_lines, read_groups, worse
    from reports.html.comparison import Compared

    groups = read_groups(_place(arguments), arguments.first, arguments.second, arguments.cell)
    if not groups:
        raise HistoryError(
            f"found no cell with valid runs of both {visible(arguments.first)} and {visible(arguments.second)}; "
            "python -m reports history lists the runs and the releases that they are filed under"
        )
    if arguments.page is not None:
        sides = arguments.first, arguments.second
        made = [Compared(one.cell_id, sides, one.comparisons, refused=one.refused) for one in groups]
        _write_comparison(arguments, made)
    if arguments.json:
        cells = [
            {"cell": one.cell_id, "refused": one.refused, "metrics": comparison_records(one.comparisons)}
            for one in groups
        ]
        print_json({"cells": cells})
    codes = [0]
    for at, group in enumerate(groups):
        if not arguments.json:
            print("\n" * bool(at) + visible(group.cell_id))
        if group.refused:
            codes.append(_refuse("the runs of the two releases", group.refused, arguments))
            continue
        if not arguments.json:
            print_lines(group_lines(group))
        codes.append(EXIT_WORSE if arguments.fail_on and worse(group.comparisons) else 0)
    return max(codes)


def _write_comparison(arguments: argparse.Namespace, compared: Sequence[Compared]) -> None:
    from reports.html.comparison import comparison_page
    from reports.html.texts import in_language

    with in_language(arguments.language):
        _write_page(arguments.page, comparison_page(compared), sys.stderr if arguments.json else sys.stdout)


def _refuse(what: str, why: Sequence[str], arguments: argparse.Namespace) -> int:
    if not arguments.json:
        print("\n".join([f"{what} cannot be compared:", *(f"  {visible(reason)}" for reason in why)]))
    return EXIT_REFUSED


def _trend_arguments(parser: argparse.ArgumentParser) -> None:
    _add_place(parser)
    parser.add_argument("--cell", metavar="ID", help="only this cell; default: all")
    _add_page(parser, "--out", f"default: {TREND_PAGE}")


def _trend(arguments: argparse.Namespace) -> int:
    """Write the page of every metric over the runs of the history."""
    from reports.history.database import open_history
    from reports.history.queries import cells, time_series
    from reports.history.trend import trend_page
    from reports.html.texts import in_language

    with no_collections(), open_history(_place(arguments)) as history:
        with history.reading() as connection:
            found = time_series(connection, arguments.cell)
            if arguments.cell is not None and not found:
                known = visible(", ".join(cells(connection))) or "none"
                raise SuiteError(f"--cell: found no run of {visible(arguments.cell)}, expected one of {known}")
        with in_language(arguments.language):
            text = trend_page(found, str(history.address))
    _write_page(arguments.out or Path(TREND_PAGE), text)
    return 0


def _write_page(path: Path, text: str, out: TextIO | None = None) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise SuiteError(
            f"{path}: the page cannot be written ({error.strerror}); name another file with --out"
        ) from None
    print(visible(str(path)), file=out)


COMMANDS = {
    "export": Command(
        "the vendor's table, its blank cells filled from runs",
        _table_arguments,
        _table,
        (f"%(prog)s {_RUN}", f"%(prog)s {_RUN} --document --form template   # the whole section"),
        aliases=("table",),
    ),
    "html": Command("the page of a run, made anew", _html_arguments, _html, (f"%(prog)s {_RUN}",), prints_table=False),
    "certificate": Command(
        "one page for a meeting, to be printed or signed",
        _certificate_arguments,
        _certificate,
        (f"%(prog)s {_RUN}",),
        prints_table=False,
    ),
    "history": Command(
        "the runs that were entered in the history, and entering more",
        _history_arguments,
        _history,
        (
            "%(prog)s --device r300 --limit 10                    # runs/history.sqlite",
            f"%(prog)s --history lab.sqlite --release 4.0.31 --add {_RUN}",
        ),
    ),
    "compare": Command(
        "two runs of a cell compared",
        _compare_arguments,
        _compare,
        (
            f"%(prog)s {_RUN} runs/20261130T083000Z-r300-1x8-fp32",
            f"%(prog)s {_RUN} runs/20261130T083000Z-r300-1x8-fp32 --page comparison.html",
            "%(prog)s 4.0.25 4.0.31 --by release --cell r300-1x8-fp32-bs16",
        ),
    ),
    "trend": Command(
        "a page of every metric over the releases in the history",
        _trend_arguments,
        _trend,
        ("%(prog)s --history lab.sqlite --out trend.html",),
        prints_table=False,
    ),
}
