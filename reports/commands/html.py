"""`python -m reports html RUN_DIR`: the page of a stored run, made anew from its evidence."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from evidence.bundle import read_run
from evidence.errors import SuiteError
from evidence.files import write_whole
from expected import load_devices
from reports.escapes import visible
from verdict.judge import judge_run
from verdict.lookup import find_cell
from verdict.record import to_json

PAGE_FILE = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("run_dir", type=Path, help="the run's folder, with run.json and rank-NNNN.jsonl")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"where the page goes (default: RUN_DIR/{PAGE_FILE})")


def main(arguments: argparse.Namespace) -> int:
    """Judge the run against the shipped tables, write its page, and return 0.

    Raises SuiteError where there is no run, or none that tells of which cell it is, or the page cannot be written.
    """
    from reports.html import run_page  # here, as the libraries behind it are only needed now

    run_dir, out = arguments.run_dir, arguments.out or arguments.run_dir / PAGE_FILE
    evidence = read_run(run_dir)
    device, cell = find_cell(evidence, load_devices())
    verdict = to_json(judge_run(evidence, cell, backend=device.backend))
    shown = shlex.quote(str(run_dir))
    commands = {"again": f"pytest --replay={shown}", "page": f"python -m reports html {shown}"}
    serial = "" if cell.card is None else ", ".join(start.serial or "" for _, start in evidence.starts)
    text = run_page(evidence, verdict, device=device, folder=str(run_dir), commands=commands, serial=serial)
    try:
        write_whole(out, text)
    except OSError as error:
        raise SuiteError(
            f"{out}: the page cannot be written ({error.strerror}); name another file with --out"
        ) from None
    print(visible(str(out)))
    return 0
