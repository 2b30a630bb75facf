"""Every fault of the table gets its verdict, and none ends in a pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.faults import mishaps, sound
from tests.faults.gates import SESSIONS, SessionRow
from tests.faults.lab import Lab
from tests.faults.table import ROWS, Row, lines
from tests.suite.junit import run_suite
from tests.support import ROOT


@pytest.fixture
def lab(forked_ranks: None, tmp_path: Path, tmp_path_factory: Any) -> Lab:
    return Lab(tmp_path, Path(str(tmp_path_factory.getbasetemp())))


def test_the_runs_that_are_altered_are_sound(lab: Lab) -> None:
    steady, full = (stored().judged(seal=False) for stored in (lab.stored, lab.stored_full))

    assert steady.outcome == "pass", steady.reasons
    assert full.outcome == "pass", full.reasons


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_fault_gets_its_verdict_and_never_a_pass(row: Row, lab: Lab) -> None:
    verdict = row.plant(lab)

    assert verdict.outcome == row.outcome, verdict.reasons
    assert any(row.words in reason for reason in verdict.reasons), verdict.reasons
    assert verdict.outcome != "pass"


@pytest.mark.parametrize("row", SESSIONS, ids=lambda row: row.name)
def test_a_session_in_which_something_was_not_asked_never_passes_the_gate(
    row: SessionRow, lab: Lab, tmp_path: Path
) -> None:
    session = run_suite(tmp_path, "--gate", *row.arguments(lab), **row.environment)

    last = session.output.rstrip().splitlines()[-1]
    assert last.startswith(f"GATE: {row.gate}"), session.output
    assert row.words in last
    assert session.code != 0


@pytest.mark.parametrize("table", [lines, sound.lines, mishaps.lines], ids=["faults", "sound", "mishaps"])
def test_the_document_shows_the_tables(table: Callable[[], list[str]]) -> None:
    document = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")

    assert "\n".join(table()) in document, "run python -m tests.faults.table and put its output there"


def test_the_tests_of_sound_machines_exist_in_the_default_tier() -> None:
    named = [test for row in sound.ROWS for test in row.tests]
    files = dict.fromkeys(test.partition("::")[0] for test in named)
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]

    done = subprocess.run(
        [*words, "-m", "not integration and not labs"], cwd=str(ROOT), capture_output=True, text=True, check=False
    )

    collected = {*done.stdout.splitlines(), *(line.partition("[")[0] for line in done.stdout.splitlines())}
    assert [test for test in named if test not in collected] == [], done.stdout + done.stderr
