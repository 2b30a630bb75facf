"""A session that looks at its run while it goes on: --fail-fast, --live, --openmetrics and --on-event, all at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from evidence.bundle import read_run
from tests.suite.junit import Session, run_suite
from tests.support import ROOT

pytestmark = pytest.mark.integration

SLOW = 'seed = 1\n[[fault]]\nkind = "slow"\nfactor = 1.3\nranks = [1]\n'
# Keeps every call, and beside it what the run's page and the OpenMetrics file were at that moment.
KEEP = """\
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
event = json.load(sys.stdin)
if event["event"] == "failure":
    page = folder / "runs" / pathlib.Path(event["run"]).name / "report.html"
    event["page"] = page.read_text() if page.exists() else ""
with open(folder / "calls", "a") as stream:
    stream.write(json.dumps(event) + "\\n")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    return Path(str(tmp_path_factory.mktemp("watching")))


@pytest.fixture(scope="module")
def ended(folder: Path) -> Session:
    (folder / "slow.toml").write_text(SLOW)
    (folder / "keep.py").write_text(KEEP)
    words = ("-m", "virtual", "--topo", "1x2", "--steps", "20000", f"--scenario={folder / 'slow.toml'}", "--gate")
    watch = ("--fail-fast", "--live=1", f"--openmetrics={folder / 'x.prom'}")
    return run_suite(folder, *words, *watch, "--on-event", f"{sys.executable} {folder / 'keep.py'} {folder}")


def calls(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    assert len({one["event"] for one in found}) == len(found)
    return {one["event"]: one for one in found}


def test_the_run_is_ended_long_before_its_end_and_is_a_fail(ended: Session) -> None:
    (run_dir,) = ended.runs
    evidence = read_run(run_dir)

    assert evidence.run.boot.stopped.startswith(("p_core 3", "p_train 3"))
    assert (evidence.run.boot.exit_code, evidence.run.boot.failure) == (None, None)
    assert evidence.problems == ()
    assert 100 <= evidence.ranks[0].windows.measured.steps < 10_000
    assert ended.code == 1
    assert ended.last_line.startswith("GATE: FAIL  virtual-1x2-fp32-bs2: p_train, p_core, skew")
    assert "invalid" not in ended.output.rpartition("conformance ==")[2].lower()


def test_what_it_was_too_early_for_is_missing(ended: Session) -> None:
    verdicts = {name: case.properties["verdict"] for name, case in ended.by_metric.items()}

    assert verdicts == {"p_train": "fail", "p_core": "fail", "mem": "missing"}
    assert "--fail-fast ended the run before agent-agrees could be checked" in ended.output or any(
        "agent-agrees" in case.message for case in ended.cases.values()
    )


def test_it_is_judged_alike_when_it_is_replayed(ended: Session, tmp_path: Path) -> None:
    again = run_suite(tmp_path, "--gate", f"--replay={ended.runs[0]}")

    assert again.code == 1
    assert again.last_line.startswith("GATE: FAIL  virtual-1x2-fp32-bs2: p_train, p_core, skew")


def test_the_page_was_live_and_is_the_runs_page_now(ended: Session, folder: Path) -> None:
    live = calls(folder)["failure"]["page"]
    page = (ended.runs[0] / "report.html").read_text()

    assert '<meta http-equiv="refresh" content="1">' in live or not live  # the failure may come with the first look
    assert 'http-equiv="refresh"' not in page
    assert "--fail-fast ended the run" in page


def test_the_openmetrics_file_has_the_end(ended: Session, folder: Path) -> None:
    families = {one.name: one.samples for one in text_string_to_metric_families((folder / "x.prom").read_text())}

    assert [sample.value for sample in families["conformance_running"]] == [0]
    assert families["conformance_run_info"][0].labels["outcome"] == "fail"


def test_the_first_failure_and_the_end_were_called(ended: Session, folder: Path) -> None:
    found = calls(folder)

    assert set(found) == {"failure", "end"}
    assert found["failure"]["cell"] == "virtual-1x2-fp32-bs2"
    assert found["end"]["gate"] == ended.last_line
    assert found["end"]["outcome"] == "FAIL"
    (run,) = found["end"]["runs"]
    assert (run["outcome"], Path(ROOT, run["run"]).name) == ("fail", ended.runs[0].name)


def test_a_call_that_fails_is_a_warning_and_changes_nothing(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "-m", "virtual", "--topo", "1x1", "--steps", "100", "--on-event", "/none/such")

    assert session.code == 0
    assert session.output.count("--on-event /none/such (end): cannot be started") == 1
