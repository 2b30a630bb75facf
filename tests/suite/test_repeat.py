"""`--repeat N` in real sessions: N boots of a cell, judged together now and when they are replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite

VIRTUAL = ("-m", "virtual", "--topo", "1x1")
PROBED = ("--numerics", "quick", "--links", "quick")  # as the gate of the replay asks


@pytest.fixture(scope="module")
def twice(tmp_path_factory: Any) -> Session:
    return run_suite(Path(str(tmp_path_factory.mktemp("twice"))), *VIRTUAL, *PROBED, "--steps", "100", "--repeat", "2")


def test_each_cell_is_booted_so_often_and_each_run_says_which_it_is(twice: Session) -> None:
    runs = sorted(twice.runs)

    recorded = [json.loads((run / "run.json").read_text())["repeat"] for run in runs]
    assert recorded == [{"number": number, "of": 2, "first": runs[0].name} for number in (1, 2)]


def test_there_is_one_verdict_on_all_of_them(twice: Session) -> None:
    assert {name: case.properties["verdict"] for name, case in twice.by_metric.items()} == {
        "p_train": "pass",
        "p_core": "pass",
        "mem": "pass",
    }
    assert twice.by_metric["p_core"].properties["method"].startswith("mean of 2 runs; each: ")
    verdicts = [(run / "verdict.json").read_text() for run in twice.runs]
    assert verdicts[0] == verdicts[1]
    assert "2 boots judged together; the others: " in twice.output


def test_they_are_replayed_together(twice: Session, tmp_path: Path) -> None:
    session = run_suite(tmp_path, "--gate", *(f"--replay={run}" for run in sorted(twice.runs, reverse=True)))

    assert session.code == 0
    assert session.last_line.endswith("; 2 runs of each cell")
    now, then = (one.by_metric["p_core"].properties for one in (session, twice))
    assert (now["measured"], now["method"], now["verdict"]) == (then["measured"], then["method"], then["verdict"])


def test_none_of_them_can_be_left_out(twice: Session, tmp_path: Path) -> None:
    second = max(twice.runs)

    session = run_suite(tmp_path, "--gate", f"--replay={second}")

    assert session.code == 4
    assert (
        "virtual-1x1-fp32-bs2 was booted 2 times, which are judged together; run 1 of 2 is not given" in session.output
    )
