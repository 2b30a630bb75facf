"""What is asked decides what is run: questions about the environment and the clocks train nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite

CELL = "virtual-1x2-fp32-bs2"


def events_of(session: Session) -> list[list[str]]:
    """The names of each rank's events, in their order."""
    (run_dir,) = session.runs
    files = sorted(run_dir.glob("rank-*.jsonl"))
    return [[json.loads(line)["event"] for line in file.read_text().splitlines()] for file in files]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: Any) -> Session:
    """Both files of such questions, asked by two workers; what they say of a session without training."""
    folder = Path(str(tmp_path_factory.mktemp("probed")))
    return run_suite(
        folder, "suite/test_clock.py", "suite/test_environment.py", "-m", "virtual", "--topo", "1x2", "-n", "2"
    )


def test_one_boot_answers_them_without_data_and_training(probed: Session) -> None:
    (run_dir,) = probed.runs

    assert json.loads((run_dir / "run.json").read_text())["protocol"] == "probes"
    assert events_of(probed) == [
        ["start", "clock_test", "health", "environment", "health", "memory", "end"],
        ["start", "clock_test", "health", "health", "memory", "end"],
    ]
    assert not (run_dir.parent / "data").exists()
    assert probed.code == 0, probed.output


def test_they_are_answered_but_for_what_only_training_reads(probed: Session) -> None:
    skipped = {name for name, case in probed.cases.items() if case.outcome == "skipped"}

    assert {case.outcome for case in probed.cases.values()} == {"passed", "skipped"}
    assert skipped == {f"test_environment[{CELL}-{item}_images]" for item in ("train", "val")}


def test_the_run_is_judged_as_one_that_measures_nothing(probed: Session, tmp_path: Path) -> None:
    (run_dir,) = probed.runs

    session = run_suite(tmp_path, "--replay", run_dir, "--gate")

    assert {case.properties["verdict"] for case in session.by_metric.values()} == {"missing"}
    assert session.cases[f"test_step_times[{CELL}]"].outcome == "skipped"
    line = session.last_line
    assert line.startswith(f"GATE: INCOMPLETE  {CELL}: p_train, p_core, mem missing"), line


def test_a_question_about_training_among_them_trains(tmp_path: Path) -> None:
    session = run_suite(
        tmp_path, "-m", "virtual", "--topo", "1x1", "--steps", "20", "-k", "test_clock_is_monotonic or test_mem"
    )

    assert {"train_begin", "train_end"} < set(events_of(session)[0])
    assert session.cases["test_mem[virtual-1x1-fp32-bs2]"].outcome == "passed"


def test_of_a_real_device_they_need_neither_data_nor_backbone(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "suite/test_clock.py", "-m", "r300", "--topo", "1x1", "--dry-run")

    assert "torch_xmlir is missing" in session.output
    assert "--data DIR" not in session.output
    assert "--backbone" not in session.output
