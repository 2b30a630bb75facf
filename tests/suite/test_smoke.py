"""--smoke: a short run of everything, at any topology, which is not compared with any number and passes no gate.

On real devices in test_first_day.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite

CELL = "virtual-1x3-fp32-bs2"


@pytest.fixture(scope="module")
def smoked(tmp_path_factory: Any) -> Session:
    """A session at a topology that the table does not have."""
    folder = Path(str(tmp_path_factory.mktemp("smoke")))
    return run_suite(folder, "-m", "virtual", "--topo", "1x3", "--smoke")


def test_it_takes_steps_and_evaluates_a_few_images(smoked: Session) -> None:
    (run_dir,) = smoked.runs

    record = json.loads((run_dir / "run.json").read_text())
    lines = (run_dir / "rank-0000.jsonl").read_text().splitlines()
    events = {event["event"]: event for event in map(json.loads, lines)}
    assert (record["protocol"], record["steps"]) == ("smoke", 20)
    assert events["train_end"]["steps"] == 20
    assert (events["eval_end"]["images_total"], events["eval_end"]["checked_map"]) == (32, events["eval_end"]["map"])
    assert (run_dir / "detections.npz").exists() == bool(events["eval_end"]["detections"])
    assert events["end"]["reason"] == "steps"


def test_every_number_is_only_recorded(smoked: Session) -> None:
    assert {case.properties["verdict"] for case in smoked.by_metric.values()} == {"recorded"}
    assert {case.outcome for case in smoked.cases.values()} <= {"passed", "skipped"}
    assert smoked.cases[f"test_skew[{CELL}]"].outcome == "skipped"
    assert "rerun   pytest -m virtual --topo 1x3 --smoke" in smoked.output


def test_a_gate_over_a_smoke_run_is_refused_before_it_is_made(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "-m", "virtual", "--topo", "1x3", "--smoke", "--gate")

    why = "--smoke makes a run that no number is compared with, so --gate cannot pass: leave out one of them"
    assert session.code == 4
    assert session.runs == []
    assert session.last_line == f"GATE: INCOMPLETE  nothing was run: {why}"
    assert session.output.count(why) == 2


def test_its_evidence_is_judged_again_as_what_it_is(smoked: Session, tmp_path: Path) -> None:
    (run_dir,) = smoked.runs

    again = run_suite(tmp_path, "--replay", run_dir, "--gate")

    # Of probes that the run left out, the line says so after it.
    assert again.last_line.startswith(
        f"GATE: INCOMPLETE  a smoke run is not compared with any number; {CELL}: p_train, p_core, mem recorded"
    )
    assert {case.properties["verdict"] for case in again.by_metric.values()} == {"recorded"}
