"""`python -m reports table RUN_DIR...`: prints the vendor's table with the blank cells filled from runs."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Mapping, Sequence

from evidence.bundle import read_run
from evidence.errors import SuiteError
from expected import Device, load_device, load_devices
from expected.documents.quoting import visible
from reports.vendor_table import Filling, document_lines, filling, style_of, table_lines
from verdict.lookup import find_cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="a run's folder, one for each row")
    parser.add_argument("--file", type=Path, metavar="DEVICE.toml", help="the device file, where it is not shipped")
    parser.add_argument("--document", action="store_true", help="the whole section: environment, metrics, table")
    parser.add_argument("--map", choices=("percent", "share"), help="how mAP is printed (default: as the vendor does)")
    parser.add_argument("--exact", action="store_true", help="measurements with all their digits, not with four")


def main(arguments: argparse.Namespace) -> int:
    """Print the table of the device that the runs are of; SuiteError where they make none."""
    devices = dict(load_devices())
    if arguments.file is not None:
        own = load_device(arguments.file)
        devices[own.marker] = own
    device, fillings = fill(arguments.run_dirs, devices)
    style = style_of(device, exact=arguments.exact)
    if arguments.map:
        style = replace(style, percent=arguments.map == "percent")
    lines = document_lines if arguments.document else table_lines
    _print("\n".join(lines(device, fillings, style)))
    return 0


def fill(run_dirs: Sequence[Path], devices: Mapping[str, Device]) -> tuple[Device, list[Filling]]:
    """The one device that the runs are of, and what each puts into its row; SuiteError names every run refused."""
    found: list[tuple[Device, Filling]] = []
    problems: list[str] = []
    seen: dict[str, Path] = {}
    for run_dir in run_dirs:
        try:
            evidence = read_run(run_dir)
            device, cell = find_cell(evidence, devices)
            found.append((device, filling(evidence, device, cell, str(run_dir))))
        except SuiteError as error:
            problems.append(visible(str(error)))
            continue
        if cell.id in seen:
            problems.append(
                f"{visible(str(run_dir))}: is a second run of {cell.id}, expected one run a row; the first is "
                f"{visible(str(seen[cell.id]))}: leave one of the two out"
            )
        seen.setdefault(cell.id, run_dir)
    markers = list(dict.fromkeys(device.marker for device, _ in found))
    if len(markers) > 1:
        problems.append(f"found runs of {', '.join(markers)}, expected those of one device: a table is of one")
    if problems:
        raise SuiteError("\n".join(problems))
    return found[0][0], [one for _, one in found]


def _print(text: str) -> None:
    # The table is Chinese, and a terminal that is not shows what it can.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    print(text)
