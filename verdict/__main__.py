"""`python -m verdict RUN_DIR` judges a stored run again; `python -m verdict accept` makes runs a site's baseline."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

from evidence.errors import SuiteError
from evidence.verdict import RunVerdict, Verdict
from expected import load_devices
from verdict.baseline import command as accept_command
from verdict.judge import judge_stored

EXIT_OK, EXIT_NOT_SHOWN, EXIT_INVALID = 0, 1, 2
"""Every metric passed or was recorded; some metric was not; the evidence, or the command line, is unusable."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["accept"]:
        return accept_command.main(words[1:])
    return _judge(words)


def _judge(words: Sequence[str]) -> int:
    """Judge the run in the folder given against the shipped tables, list the verdicts, return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m verdict",
        description="Judge a stored run again.",
        epilog="python -m verdict accept --help: accept the values of several runs as a site's baseline.",
    )
    parser.add_argument("run_dir", type=Path, help="the run's folder, with run.json and rank-NNNN.jsonl")
    arguments = parser.parse_args(words)
    try:
        verdict = judge_stored(arguments.run_dir, load_devices()).verdict
    except SuiteError as error:
        print(error, file=sys.stderr)
        return EXIT_INVALID
    print("\n".join(_lines(verdict)))
    if verdict.outcome is Verdict.INVALID:
        return EXIT_INVALID
    return EXIT_OK if verdict.outcome in (Verdict.PASS, Verdict.RECORDED) else EXIT_NOT_SHOWN


def _lines(verdict: RunVerdict) -> list[str]:
    simulated = " (simulated)" if verdict.simulated else ""
    lines = [f"{verdict.cell.id} {verdict.protocol}{simulated}: {verdict.outcome}"]
    lines += [f"{name:<9} {metric.verdict.value:<13} {metric.reason}" for name, metric in verdict.shown.items()]
    if verdict.outcome is Verdict.INVALID:
        lines += ["", *verdict.reasons]
    if verdict.changed:
        lines += ["", *(f"changed since the run: {change}" for change in verdict.changed)]
    return lines


if __name__ == "__main__":
    sys.exit(main())
