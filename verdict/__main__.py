"""`python -m verdict RUN_DIR` judges a stored run again; `python -m verdict accept` makes runs a site's baseline."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

from evidence.command_line import EXIT_REFUSED, add_json, examples, exit_code_of, print_json
from evidence.verdict import RunVerdict, Verdict, encode_verdict
from expected import load_devices
from verdict.baseline import command as accept_command
from verdict.judge import judge_stored

EXIT_OK, EXIT_NOT_SHOWN, EXIT_INVALID = 0, 1, EXIT_REFUSED
"""Every metric passed or was recorded; some metric was not; the evidence, or the command line, is unusable."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["accept"]:
        return accept_command.main(words[1:])
    return judge_command(words)


def judge_command(argv: Sequence[str], prog: str = "python -m verdict") -> int:
    """Judge the run in the folder given against the shipped tables, list the verdicts, return the exit code."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Judge a stored run again, by the tables of this checkout.",
        **examples(
            "%(prog)s runs/20261123T101200Z-r300-1x8-fp32",
            "pytest --replay=RUN_DIR --gate --baseline=site.toml   # with a site's values, as a gate",
            "python -m verdict accept --help                       # make such values of several runs",
        ),
    )
    parser.add_argument("run_dir", type=Path, help="the run's folder, with run.json and rank-NNNN.jsonl")
    add_json(parser)
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: _judge(arguments))


def _judge(arguments: argparse.Namespace) -> int:
    verdict = judge_stored(arguments.run_dir, load_devices()).verdict
    if arguments.json:
        print_json(encode_verdict(verdict))
    else:
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
