"""Real runs on this machine's CPU, from pytest's start to its JUnit file: two cells, each an epoch over 32 images."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.seal import seal_problems
from evidence.verdict import encode_verdict
from tests.suite.junit import Case, Session, launch_suite, starts_of
from tests.suite.without_torch import link_distributions, run_without_torch
from tests.support import cell_of, device_of
from verdict.judge import judge_run

pytestmark = pytest.mark.integration

SECRET = "hunter2-is-not-to-be-found"
SECRETS = {
    "MY_API_TOKEN": SECRET,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "DATABASE_PASSWORD": SECRET,
    "NCCL_AUTH_TOKEN": SECRET,
    "SLURM_JWT": SECRET,
    "XPU_LICENSE_KEY": SECRET,
}
SMALL = ("-p", "tests.suite.small_cpu")
METRICS = ("e2e_time", "p_whole", "p_train", "p_core", "map", "mem")


@pytest.fixture(scope="module")
def session(tmp_path_factory: Any) -> Session:
    """Both cells of one host, asked by more workers than there are cells, with secrets in the environment."""
    folder = Path(str(tmp_path_factory.mktemp("real")))
    prefix = ("--exec-prefix", f"env REGISTRY_PASSWORD={SECRET} API_KEY={SECRET}")
    arguments = ("-m", "cpu", "--topo", "1x1", "--topo", "1x2", "--epochs", "1", "-n", "3")
    return launch_suite(folder, *SMALL, *arguments, *prefix, **SECRETS)


@pytest.fixture(scope="module")
def one(session: Session) -> Path:
    """The run of one rank."""
    return next(run for run in session.runs if "-1x1-" in run.name)


@pytest.fixture(scope="module")
def two(session: Session) -> Path:
    """The run of two ranks."""
    return next(run for run in session.runs if "-1x2-" in run.name)


@pytest.fixture(scope="module")
def tight(one: Path, tmp_path_factory: Any) -> Session:
    """The run of one rank judged again, with a bound on memory that cannot be met."""
    folder = Path(str(tmp_path_factory.mktemp("tight")))
    copy = shutil.copytree(str(one), str(folder / one.name))
    # Under -O, and without pytest's rewriting, assert statements are removed: the failure must not depend on them.
    return launch_suite(folder, "--assert=plain", *SMALL, "--replay", Path(copy), PYTHONOPTIMIZE="1", TIGHT_MEMORY="1")


def test_three_workers_boot_each_of_two_cells_once(session: Session, one: Path, two: Path) -> None:
    assert sorted(path.name.split("-", 1)[1] for path in session.runs) == ["cpu-1x1-fp32", "cpu-1x2-fp32"]
    assert [start["rank"] for start in starts_of(one)] == [0]
    assert [start["rank"] for start in starts_of(two)] == [0, 1]
    assert {start["world_size"] for start in starts_of(two)} == {2}
    assert {start["collectives"] for start in starts_of(two)} == {"gloo"}


def test_no_rank_warns_of_what_its_torch_deprecates(one: Path, two: Path) -> None:
    logs = [path for run_dir in (one, two) for path in sorted(run_dir.glob("rank-*.log"))]

    assert len(logs) == 3
    assert [line for path in logs for line in path.read_text().splitlines() if "Warning" in line] == []


def test_every_rank_records_the_variables_that_change_a_run(two: Path) -> None:
    for start in starts_of(two):
        assert start["variables"]["OMP_WAIT_POLICY"] == "PASSIVE"
        assert start["variables"]["NCCL_AUTH_TOKEN"] == "[redacted]"
        assert "SLURM_JWT" not in start["variables"]
        assert (start["deterministic"], start["cudnn_benchmark"]) == (False, False)


def cases_of(session: Session, cell: str) -> dict[str, Case]:
    """The cases about the metrics of a cell, by the metric's name."""
    return {name: session.cases[f"test_{name}[{cell}]"] for name in METRICS}


def verdicts_of(cases: dict[str, Case]) -> dict[str, str]:
    return {name: case.properties["verdict"] for name, case in cases.items()}


@pytest.mark.parametrize("cell", ["cpu-1x1-fp32-bs8", "cpu-1x2-fp32-bs4"])
def test_an_epoch_records_rates_passes_memory_and_misses_the_rest(cell: str, session: Session) -> None:
    cases = cases_of(session, cell)

    verdicts = verdicts_of(cases)
    assert verdicts == {
        "e2e_time": "missing",
        "p_whole": "recorded",
        "p_train": "recorded",
        "p_core": "recorded",
        "map": "missing",
        "mem": "pass",
    }
    outcomes = {name: case.outcome for name, case in cases.items()}
    assert outcomes == {name: "passed" if verdict == "pass" else "skipped" for name, verdict in verdicts.items()}
    assert (session.counts["failures"], session.counts["errors"], session.code) == (0, 0, 0), session.output


def test_the_properties_are_the_verdict_files_numbers(session: Session, two: Path) -> None:
    recorded = json.loads((two / "verdict.json").read_text())["metrics"]

    for name, case in cases_of(session, "cpu-1x2-fp32-bs4").items():
        for key in ("measured", "low", "high", "expected"):
            value = recorded[name][key]
            assert case.properties[key] == ("" if value is None else repr(value)), (name, key)
        for key in ("unit", "method", "source", "verdict"):
            assert case.properties[key] == recorded[name][key]


def test_judging_the_stored_run_again_gives_the_same_verdict(two: Path) -> None:
    verdict = judge_run(read_run(two), cell_of("cpu", "1x2"), backend=device_of("cpu").backend)

    assert encode_verdict(verdict) == json.loads((two / "verdict.json").read_text())


def test_the_run_is_sealed(two: Path) -> None:
    assert seal_problems(two) == ()
    sealed = {line.split()[1] for line in (two / "SHA256SUMS").read_text().splitlines()}
    assert {"run.json", "rank-0000.jsonl", "rank-0001.jsonl", "rank-0001.log", "telemetry.jsonl"} <= sealed


def test_judging_the_stored_run_where_there_is_no_torch_gives_the_same_file(two: Path, tmp_path: Path) -> None:
    before = (two / "verdict.json").read_bytes()
    bare = link_distributions(tmp_path / "bare")
    absent = run_without_torch(bare, "-c", "import torch")
    (two / "verdict.json").unlink()

    replay = run_without_torch(bare, "-m", "pytest", *SMALL, "-p", "no:cacheprovider", f"--replay={two}")

    assert "No module named 'torch'" in absent.stderr
    assert replay.returncode == 0, replay.stdout + replay.stderr
    assert (two / "verdict.json").read_bytes() == before
    assert seal_problems(two) == ()


def test_the_terminal_shows_progress_every_metric_and_the_line_that_runs_it_again(session: Session, two: Path) -> None:
    progress, _, table = session.output.partition("= conformance =")

    assert re.search(r"^\d\d:\d\d:\d\d  cpu: making the data set$", progress, re.MULTILINE)
    assert "\x1b[" not in progress  # there is no terminal
    assert "CPU 1x2 fp32 bs4" in table
    assert "2 ranks on 1 host" in table
    for metric in METRICS:
        assert f"\n{metric} " in table
    assert "rerun   pytest -m cpu --topo 1x2 --epochs=1 " in table
    assert "again   pytest -m cpu --topo 1x2" in table
    assert f"--replay={two}" in table


def test_no_credential_gets_into_the_evidence(session: Session, one: Path, two: Path) -> None:
    report = two.parent.parent / "report.xml"

    assert all("[redacted]" in (run / "run.json").read_text() for run in (one, two))
    found = [path for path in [*one.rglob("*"), *two.rglob("*"), report] if path.is_file()]
    assert len(found) > 10
    assert [path.name for path in found if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in session.output


def test_a_metric_outside_its_bound_is_a_failure_with_numbers_not_an_error(tight: Session) -> None:
    case = tight.by_metric["mem"]

    assert (case.outcome, case.properties["verdict"]) == ("failure", "fail")
    assert float(case.properties["measured"]) > 0.1
    assert case.properties["bound"].startswith("<= ")
    assert (tight.counts["failures"], tight.counts["errors"], tight.code) == (1, 0, 1)


def test_one_failed_metric_does_not_touch_the_others(session: Session, tight: Session) -> None:
    before = verdicts_of(cases_of(session, "cpu-1x1-fp32-bs8"))

    assert verdicts_of(cases_of(tight, "cpu-1x1-fp32-bs8")) == {**before, "mem": "fail"}


def test_the_run_leaves_a_checkpoint_and_a_log_for_each_rank(one: Path, two: Path) -> None:
    for run_dir, ranks in ((one, 1), (two, 2)):
        kept = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
        assert [name[:16] for name in kept] == ["epoch-0000-step-"] * 2
        assert kept[1] == f"{kept[0]}.sha256"
        assert len(list(run_dir.glob("rank-*.log"))) == ranks
        record = json.loads((run_dir / "run.json").read_text())
        assert (record["boot"]["exit_code"], record["boot"]["failure"]) == (0, None)
        assert record["starts"][0][0] == "env"
        # A rank that is alone needs no torchrun.
        assert ("torch.distributed.run" in record["command"]) == (ranks > 1)
