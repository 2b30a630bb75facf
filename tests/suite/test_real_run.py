"""A real run on this machine's CPU, from pytest's start to its JUnit file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.seal import seal_problems
from evidence.verdict import encode_verdict
from tests.suite.junit import Session, launch_suite
from tests.suite.without_torch import link_distributions, run_without_torch
from tests.support import cell_of, device_of
from verdict.judge import judge_run

pytestmark = pytest.mark.integration

STEPS = "20"


@pytest.fixture(scope="module")
def steady(tmp_path_factory: Any) -> Session:
    """A short steady run of two ranks, asked by two workers."""
    folder = Path(str(tmp_path_factory.mktemp("steady")))
    return launch_suite(folder, "-m", "cpu", "--topo", "1x2", "--steps", STEPS, "-n", "2")


@pytest.fixture(scope="module")
def tight(tmp_path_factory: Any) -> Session:
    """One epoch on one rank, with a bound on memory that cannot be met."""
    folder = Path(str(tmp_path_factory.mktemp("tight")))
    # Under -O, and without pytest's rewriting, assert statements are not there: a failure has to be one all the same.
    arguments = ("--assert=plain", "-p", "tests.suite.tight_cpu", "--epochs", "1")
    return launch_suite(folder, *arguments, PYTHONOPTIMIZE="1")


def test_two_workers_and_six_metrics_boot_two_ranks_once(steady: Session) -> None:
    (run_dir,) = steady.runs

    starts = [json.loads(path.read_text().splitlines()[0]) for path in sorted(run_dir.glob("rank-*.jsonl"))]

    assert [start["rank"] for start in starts] == [0, 1]
    assert {start["world_size"] for start in starts} == {2}
    assert {start["collectives"] for start in starts} == {"gloo"}


def test_a_steady_run_records_rates_passes_memory_and_misses_the_rest(steady: Session) -> None:
    verdicts = {name: case.properties["verdict"] for name, case in steady.by_metric.items()}

    assert verdicts == {
        "e2e_time": "missing",
        "p_whole": "missing",
        "p_train": "recorded",
        "p_core": "recorded",
        "map": "missing",
        "mem": "pass",
    }
    outcomes = {name: case.outcome for name, case in steady.by_metric.items()}
    assert outcomes == {name: "passed" if verdict == "pass" else "skipped" for name, verdict in verdicts.items()}
    assert steady.counts == {"tests": 15, "failures": 0, "errors": 0, "skipped": 6}
    assert steady.code == 0


def test_the_properties_are_the_verdict_files_numbers(steady: Session) -> None:
    recorded = json.loads((steady.runs[0] / "verdict.json").read_text())["metrics"]

    for name, case in steady.by_metric.items():
        for key in ("measured", "low", "high", "expected"):
            value = recorded[name][key]
            assert case.properties[key] == ("" if value is None else repr(value)), (name, key)
        for key in ("unit", "method", "source", "verdict"):
            assert case.properties[key] == recorded[name][key]


def test_judging_the_stored_run_again_gives_the_same_verdict(steady: Session) -> None:
    verdict = judge_run(read_run(steady.runs[0]), cell_of("cpu", "1x2"), backend=device_of("cpu").backend)

    assert encode_verdict(verdict) == json.loads((steady.runs[0] / "verdict.json").read_text())


def test_the_run_is_sealed(steady: Session) -> None:
    assert seal_problems(steady.runs[0]) == ()
    sealed = {line.split()[1] for line in (steady.runs[0] / "SHA256SUMS").read_text().splitlines()}
    assert {"run.json", "rank-0000.jsonl", "rank-0001.jsonl", "rank-0001.log", "telemetry.jsonl"} <= sealed


def test_judging_the_stored_run_where_there_is_no_torch_gives_the_same_file(steady: Session, tmp_path: Path) -> None:
    (run_dir,) = steady.runs
    before = (run_dir / "verdict.json").read_bytes()
    bare = link_distributions(tmp_path / "bare")
    absent = run_without_torch(bare, "-c", "import torch")
    (run_dir / "verdict.json").unlink()

    session = run_without_torch(bare, "-m", "pytest", "-p", "no:cacheprovider", f"--replay={run_dir}")

    assert "No module named 'torch'" in absent.stderr
    assert session.returncode == 0, session.stdout + session.stderr
    assert (run_dir / "verdict.json").read_bytes() == before
    assert seal_problems(run_dir) == ()


def test_the_terminal_shows_every_metric_and_the_line_that_runs_it_again(steady: Session) -> None:
    table = steady.output[steady.output.index("= conformance =") :]

    assert "CPU 1x2 fp32 bs4" in table
    assert "2 ranks on 1 host" in table
    for metric in ("e2e_time", "p_whole", "p_train", "p_core", "map", "mem"):
        assert f"\n{metric} " in table
    assert f"rerun   pytest -m cpu --topo 1x2 --steps={STEPS}" in table
    assert "again   pytest -m cpu --topo 1x2" in table
    assert f"--replay={steady.runs[0]}" in table


def test_progress_is_told_where_there_is_no_terminal(tight: Session) -> None:
    assert "cpu-1x1-fp32-bs8  " in tight.output
    assert "\x1b[" not in tight.output


def test_a_metric_outside_its_bound_is_a_failure_with_numbers_not_an_error(tight: Session) -> None:
    case = tight.by_metric["mem"]

    assert (case.outcome, case.properties["verdict"]) == ("failure", "fail")
    assert float(case.properties["measured"]) > 0.1
    assert case.properties["bound"].startswith("<= ")
    assert tight.counts["failures"] == 1
    assert tight.counts["errors"] == 0
    assert tight.code == 1


def test_one_failed_metric_does_not_touch_the_others(tight: Session) -> None:
    others = {name: case.outcome for name, case in tight.by_metric.items() if name != "mem"}

    assert "failure" not in others.values()
    assert others["p_core"] == "skipped"


def test_the_run_leaves_a_checkpoint_and_a_log_for_each_rank(tight: Session) -> None:
    (run_dir,) = tight.runs

    kept = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    assert [name[:16] for name in kept] == ["epoch-0000-step-"] * 2
    assert kept[1] == f"{kept[0]}.sha256"
    assert (run_dir / "rank-0000.log").exists()
    record = json.loads((run_dir / "run.json").read_text())
    assert (record["boot"]["exit_code"], record["boot"]["failure"]) == (0, None)
    assert record["command"][1:4] == ["-u", "-m", "trainer"]  # a rank that is alone needs no torchrun
