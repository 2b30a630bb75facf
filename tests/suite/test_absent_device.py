"""Where something is missing nothing is started: one list of it all, exit code 4, the gate's line and JUnit say so."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.suite.junit import Session, run_suite

MISSING = (
    "torch_xmlir is missing: it comes with Kunlunxin's container image",
    "none of xpu_smi, xpu-smi is on PATH or in /opt/xre/bin, /opt/mxdriver/bin, /usr/local/corex/bin",
    "--data DIR is missing",
    "--backbone FILE is missing",
)
"""What this machine lacks of what an R300's cell needs."""


def require_listed_once(session: Session, *words: str) -> None:
    """Require a refused session whose list has a line with each of `words`, and JUnit the same lines."""
    assert session.code == 4, session.output
    assert [session.output.count(f"{word}") for word in words] == [1] * len(words), session.output
    assert "Traceback" not in session.output
    (case,) = session.cases.values()
    assert (case.name, case.outcome) == ("preflight", "error")
    assert [word for word in words if word not in case.message] == []
    assert session.runs == []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_without_an_r300_all_that_is_missing_is_listed_once(tmp_path: Path, workers: str) -> None:
    history = tmp_path / "history.sqlite"

    session = run_suite(tmp_path, "-m", "r300", "--topo", "1x8", "-n", workers, "--history", f"sqlite:///{history}")

    require_listed_once(session, *MISSING)
    assert "run the suite inside that image" in session.output
    # A stream that is not buffered may come before the other.
    listed = session.output[session.output.index("ERROR: ") :].partition("\n====")[0].splitlines()
    assert [word in line for word, line in zip(MISSING, listed)] == [True] * len(MISSING)
    assert [line for line in listed[len(MISSING) :] if line] == []
    with sqlite3.connect(str(history)) as opened:
        tables = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: opened.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables}
    assert "runs" in rows
    assert rows["runs"] == 0


def test_the_gates_line_has_the_cause_and_how_many_more_there_are(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "-m", "r300", "--topo", "1x8", "--gate", "--runs", "/proc/nowhere")

    last = session.last_line
    assert last.startswith("GATE: INCOMPLETE  nothing was run: --runs /proc/nowhere: cannot be written: ")
    assert last.endswith("; and 5 more, listed above")
    blank = "r300-1x8-fp32-bs16: e2e_time, p_whole, p_train, p_core cannot pass: unpublished and no --baseline"
    require_listed_once(session, *MISSING, blank)


def test_a_wrong_scenario_is_said_once_for_all_cells(tmp_path: Path) -> None:
    scenario = tmp_path / "nowhere.toml"

    session = run_suite(tmp_path, "-m", "virtual", "--topo", "all", "--gate", "--scenario", scenario)

    why = f"{scenario}: cannot be read: No such file or directory"
    assert session.last_line.startswith(f"GATE: INCOMPLETE  nothing was run: {why}")
    assert session.output.count(why) == 2  # in the list and in the gate's line
    assert why in session.cases["preflight"].message


def test_what_a_data_folder_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "data" / "train2017").mkdir(parents=True)

    session = run_suite(tmp_path, "-m", "cpu", "--data", tmp_path / "data")

    require_listed_once(session, "data/val2017: not there", "instances_train2017.json: not there")
    assert "data/train2017: not there" not in session.output
