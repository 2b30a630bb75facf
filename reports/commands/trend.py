"""`python -m reports trend`: the page of every metric over the runs and releases in the history."""

from __future__ import annotations

import argparse
import contextlib
import gc
from pathlib import Path
from typing import Iterator

from evidence.errors import SuiteError
from evidence.files import write_whole
from reports.commands.history import add_place, place
from reports.escapes import visible

PAGE_FILE = "trend.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be asked for."""
    add_place(parser)
    parser.add_argument("--cell", metavar="ID", help="only this cell; default: all")
    parser.add_argument("--out", type=Path, default=Path(PAGE_FILE), metavar="FILE", help="default: %(default)s")


def main(arguments: argparse.Namespace) -> int:
    """Write the page, say which steps there are, and return 0.

    Raises SuiteError where there is no history, no run of the cell, or the page cannot be written.
    """
    from reports.history.database import open_history
    from reports.history.queries import cells, courses
    from reports.history.trend import trend_page

    with _no_collections(), open_history(place(arguments)) as history:
        with history.reading() as connection:
            found = courses(connection, arguments.cell)
            if arguments.cell is not None and not found:
                known = visible(", ".join(cells(connection))) or "none"
                raise SuiteError(f"--cell: found no run of {visible(arguments.cell)}, expected one of {known}")
        text = trend_page(found, str(history.address))
    try:
        write_whole(arguments.out, text)
    except OSError as error:
        raise SuiteError(
            f"{arguments.out}: the page cannot be written ({error.strerror}); name another file with --out"
        ) from None
    print(visible(str(arguments.out)))
    return 0


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Spare the garbage collector: a hundred thousand rows come in, and nothing refers back to itself."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
