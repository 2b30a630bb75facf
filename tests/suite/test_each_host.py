"""`--each-host`: one run and one verdict a host, one after another, and the slow host named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.suite.junit import run_suite
from tests.suite.stored import virtual_bundle

CELL = "virtual-1x1-fp32-bs2"
SIBLINGS = f"test_no_device_is_slower[{CELL}]"
HOSTS = ("a", "b", "c", "d")


def host_run(folder: Path, host: str, step_ms: float = 92.0) -> Path:
    """Store a run on a host, which did a step of two images, every seventh of one, in so many ms."""
    bundle = virtual_bundle("1x1", compute_ns=int(step_ms * 1e6))
    bundle.run["cell"]["id"] = bundle.one("start")["cell"] = f"{CELL}-host-{host}"
    return bundle.write(folder / host)


def test_stored_runs_of_four_hosts_are_four_verdicts_and_the_slow_host_stands_first(tmp_path: Path) -> None:
    runs = [host_run(tmp_path, host, 105.0 if host == "c" else 92.0) for host in HOSTS]

    session = run_suite(tmp_path, "--each-host", "--gate", *(f"--replay={run}" for run in runs))

    outcomes = {host: session.cases[f"test_p_core[{CELL}-host-{host}]"].outcome for host in HOSTS}
    assert outcomes == {"a": "passed", "b": "passed", "c": "failure", "d": "passed"}, session.output
    assert session.cases[f"test_p_core[{CELL}-host-b]"].properties["host"] == "b"
    assert session.cases[SIBLINGS].properties["slow"] == "host c (node0)"
    table = session.output.partition(f"siblings of {CELL}")[2]
    assert [table.index(f"host {host} ") for host in "cabd"] == sorted(table.index(f"host {host} ") for host in HOSTS)
    assert session.last_line == f"GATE: FAIL  {CELL}-host-c: p_train, p_core; {CELL}: siblings"


def test_each_host_says_what_does_not_go_with_it(tmp_path: Path) -> None:
    words = ("-m", "virtual", "--topo", "2x8", "--hosts", "a,b")

    session = run_suite(tmp_path, "--collect-only", "--each-host", *words)

    assert session.code == 4
    assert "and 2x8 needs 2; choose with --topo: 1x1, " in session.output
    assert "Traceback" not in session.output


@pytest.mark.integration
def test_every_host_is_booted_once_and_the_planted_slow_one_is_named(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("noise = 0.005\n[[fault]]\nkind = 'slow'\nfactor = 1.15\nhosts = ['b']\n")
    options = ["-m", "virtual", "--topo", "1x1", "--each-host", "--hosts", "a,b,c", "--steps", "100"]

    session = run_suite(tmp_path, *options, "--scenario", plan)

    records = [json.loads((run / "run.json").read_text()) for run in session.runs]
    assert sorted(record["cell"]["id"] for record in records) == [f"{CELL}-host-{host}" for host in "abc"]
    case = session.cases[SIBLINGS]
    assert (case.outcome, case.properties["slow"]) == ("failure", "host b"), session.output
