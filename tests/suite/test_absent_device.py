"""Where the device is not there, nothing passes and nothing is skipped: every metric says what is missing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.suite.junit import run_suite


def test_without_an_r300_every_question_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "-m", "r300", "--topo", "1x8")

    assert session.code == 1
    assert session.counts == {"tests": 29, "failures": 0, "errors": 29, "skipped": 0}
    for case in session.cases.values():
        assert case.outcome == "error"
        assert "torch_xmlir is missing" in case.message
        assert "container image" in case.message
        assert "--data DIR is missing" in case.message
    for case in session.by_metric.values():
        assert case.properties["verdict"] == "invalid"
        assert case.properties["measured"] == ""
    assert "Traceback" not in session.output


def test_a_failed_boot_is_kept_for_all_metrics_and_not_repeated(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "-m", "r300", "--topo", "1x8", "-n", "2")

    assert session.counts["errors"] == 29
    (run_dir,) = session.runs
    record = json.loads((run_dir / "run.json").read_text())
    assert record["boot"]["failure"]["phase"] == "preflight"
    assert record["cell"]["id"] == "r300-1x8-fp32-bs16"


def test_two_machines_are_refused_with_the_reason(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "-m", "r300", "--topo", "2x8")

    assert session.code == 1
    assert {case.outcome for case in session.cases.values()} == {"error"}
    assert all("2x8 needs 2 hosts" in case.message for case in session.cases.values())


def test_a_data_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "-m", "cpu", "--data", tmp_path / "nowhere")

    assert session.code == 1
    assert session.counts["errors"] == session.counts["tests"] == 12
    assert all("nowhere: no such folder" in case.message for case in session.cases.values())


def test_a_folder_that_is_not_coco_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "half" / "train2017").mkdir(parents=True)

    session = run_suite(tmp_path, "-m", "cpu", "--data", tmp_path / "half")

    message = session.cases["test_map[cpu-1x1-fp32-bs8]"].message
    assert "val2017: not there" in message
    assert "instances_train2017.json: not there" in message
    assert "half/train2017: not there" not in message
