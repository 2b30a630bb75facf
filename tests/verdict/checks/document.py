"""`python -m tests.verdict.checks.document`: the table of checks of docs/verdicts.md, from their registry."""

from __future__ import annotations

from pathlib import Path

from verdict.checks.invariants import CHECKS

ROOT = Path(__file__).resolve().parents[3]


def lines() -> list[str]:
    """The table, a check a line, in the order of the reasons."""
    rows = [f"| `{check.id}` | {check.description} |" for check in CHECKS.values()]
    return ["| check | what has to hold |", "| --- | --- |", *rows]


if __name__ == "__main__":
    print("\n".join(lines()))
