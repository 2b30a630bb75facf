"""Runs that were stored by earlier versions get the verdict that they got then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.errors import SuiteError
from expected import load_devices
from tests.support import ROOT
from verdict.judge import judge_run
from verdict.lookup import find_cell
from verdict.record import to_json

STORED = sorted(path.parent for path in (ROOT / "tests" / "stored").glob("*/verdict.json"))


def judged_again(run_dir: Path) -> dict[str, Any]:
    evidence, devices = read_run(run_dir), load_devices()
    try:
        device, cell = find_cell(evidence, devices)
    except SuiteError:  # run.json cannot be read
        device = devices["virtual"]
        (cell,) = (cell for cell in device.cells if str(cell.topology) == "1x2")
    verdict: dict[str, Any] = json.loads(json.dumps(to_json(judge_run(evidence, cell, backend=device.backend))))
    return verdict


@pytest.mark.parametrize("run_dir", STORED, ids=lambda path: path.name)
def test_a_stored_run_gets_the_verdict_that_it_got(run_dir: Path) -> None:
    then = json.loads((run_dir / "verdict.json").read_text(encoding="utf-8"))

    now = judged_again(run_dir)

    for part in ("cell", "simulated", "protocol", "restarts", "outcome", "reasons", "workload"):
        assert now[part] == then[part], part
    assert now["metrics"] == then["metrics"]


def test_a_dozen_runs_are_stored_of_all_kinds() -> None:
    outcomes = [json.loads((one / "verdict.json").read_text(encoding="utf-8"))["outcome"] for one in STORED]

    assert len(outcomes) == 17
    assert {"pass", "fail", "inconclusive", "invalid", "recorded", "missing"} == set(outcomes)
