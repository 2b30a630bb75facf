"""A run of two ranks on simulated devices: it is judged as any other, and says everywhere that it is simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite, starts_of

SCENARIO = "seed = 3\nmemory_gib = 19.5\n"


@pytest.fixture(scope="module")
def steady(tmp_path_factory: Any) -> Session:
    folder = Path(str(tmp_path_factory.mktemp("virtual")))
    scenario = folder / "plan.toml"
    scenario.write_text(SCENARIO)
    return run_suite(folder, "-m", "virtual", "--topo", "1x2", "--steps", "100", "--scenario", scenario)


def test_what_is_planted_is_what_is_measured(steady: Session) -> None:
    verdicts = {name: case.properties["verdict"] for name, case in steady.by_metric.items()}

    assert verdicts == {"p_train": "pass", "p_core": "pass", "mem": "pass"}, steady.output
    # Two devices of 20 images/s, each step waiting for the slower of the two.
    assert 39.0 <= float(steady.by_metric["p_core"].properties["measured"]) <= 40.1
    assert float(steady.by_metric["mem"].properties["measured"]) == 19.5
    assert steady.code == 0


def test_the_evidence_says_that_it_is_simulated(steady: Session) -> None:
    (run_dir,) = steady.runs

    record = json.loads((run_dir / "run.json").read_text())
    starts = starts_of(run_dir)
    verdict = json.loads((run_dir / "verdict.json").read_text())

    assert (record["simulated"], verdict["simulated"]) == (True, True)
    assert [start["simulated"] for start in starts] == [True, True]
    assert {start["device_name"] for start in starts} == {"Virtual accelerator"}
    assert {start["collectives"] for start in starts} == {"gloo"}


def test_the_closing_table_says_it_in_its_title(steady: Session) -> None:
    assert "Virtual accelerator 1x2 fp32 bs2 lr0.02 · simulated · steady · 2 ranks on 1 host" in steady.output


def test_the_evidence_keeps_what_was_planted(steady: Session) -> None:
    (run_dir,) = steady.runs

    record = json.loads((run_dir / "run.json").read_text())

    assert (record["scenario"]["seed"], record["scenario"]["memory_gib"]) == (3, 19.5)
    assert record["scenario"]["faults"] == []
    assert (run_dir / "scenario.toml").read_text() == SCENARIO


def test_the_devices_show_their_memory_and_have_one_each(steady: Session) -> None:
    (run_dir,) = steady.runs

    samples = [json.loads(line) for line in (run_dir / "telemetry.jsonl").read_text().splitlines()]

    of_devices = [sample for sample in samples if "card" in sample]
    assert {sample["source"] for sample in of_devices} == {"virtual_smi"}
    assert {sample["source"] for sample in samples} == {"virtual_smi", "host"}
    assert {sample["card"] for sample in of_devices} == {0, 1}
    assert max(sample["memory_used_gib"] for sample in of_devices) == 19.5
