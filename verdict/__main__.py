"""Judges a stored run again: `python -m verdict RUN_DIR`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Sequence

from expected import Cell, Device, SuiteError, load_devices
from verdict.evidence import Evidence, read_run
from verdict.judge import INVALID, PASS, RECORDED, RunVerdict, judge_run

EXIT_OK, EXIT_NOT_SHOWN, EXIT_INVALID = 0, 1, 2
"""Every metric is pass or recorded; some metric is not; the evidence or the question is no good."""


def main(argv: Sequence[str] | None = None) -> int:
    """Judge the run in the folder given against the shipped tables, list the verdicts, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m verdict", description="Judge a stored run again.")
    parser.add_argument("run_dir", type=Path, help="the run's folder, with run.json and rank-NNNN.jsonl")
    arguments = parser.parse_args(argv)
    try:
        evidence = read_run(arguments.run_dir)
        device, cell = _find_cell(evidence)
        verdict = judge_run(evidence, cell, backend=device.backend)
    except SuiteError as error:
        print(error, file=sys.stderr)
        return EXIT_INVALID
    print("\n".join(_lines(verdict)))
    if verdict.outcome == INVALID:
        return EXIT_INVALID
    return EXIT_OK if verdict.outcome in (PASS, RECORDED) else EXIT_NOT_SHOWN


def _find_cell(evidence: Evidence) -> tuple[Device, Cell]:
    if evidence.run is None:
        raise SuiteError(f"{evidence.path}: cannot tell which cell was run: {'; '.join(evidence.problems)}")
    wanted, devices = evidence.run.cell.id, load_devices()
    for device in devices.values():
        for cell in device.cells:
            if cell.id == wanted:
                if device.shapes is not None and _own_data(evidence.path):
                    cell = cell.without_numbers("the table's numbers belong to the generated data set")
                return device, cell
    known = ", ".join(cell.id for device in devices.values() for cell in device.cells)
    raise SuiteError(f"{evidence.path}: found cell {wanted} in run.json, expected one of the shipped tables: {known}")


def _own_data(run_dir: Path) -> bool:
    """Whether the run was given a data set instead of generating the device's own; unless it says no, it was."""
    return json.loads((run_dir / "run.json").read_text(encoding="utf-8")).get("own_data", True) is not False


def _lines(verdict: RunVerdict) -> list[str]:
    simulated = " (simulated)" if verdict.simulated else ""
    lines = [f"{verdict.cell_id} {verdict.protocol}{simulated}: {verdict.outcome}"]
    lines += [f"{name:<10}{metric.verdict:<14}{metric.reason}" for name, metric in verdict.metrics.items()]
    if verdict.outcome == INVALID:
        lines += ["", *verdict.reasons]
    return lines


if __name__ == "__main__":
    sys.exit(main())
