"""Real runs through every launcher: over ssh to two hosts, by a real Slurm, and on two simulated ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from evidence.bundle import read_run
from evidence.verdict import RunVerdict
from tests.labs import hosts as lab_of_hosts
from tests.labs import slurm as lab_of_slurm
from tests.labs.hosts import Hosts, two_hosts
from tests.labs.slurm import slurm_cluster
from tests.suite.junit import run_suite, starts_of
from tests.support import ROOT, cell_of
from verdict.judge import judge_run


def suite_command(folder: Path, topology: str, data: Path, *arguments: object) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "cpu", "--topo", topology]
    command += ["--numerics=none", "--links=none"]
    # Each host of the labs has a /run of its own, and so leases of its own.
    return [*command, f"--runs={folder / 'runs'}", f"--data={data}", "--leases=/run/leases", *map(str, arguments)]


def the_run(folder: Path, topology: str) -> tuple[Path, RunVerdict]:
    (run_dir,) = (folder / "runs").glob("*Z-*")
    return run_dir, judge_run(read_run(run_dir), cell_of("cpu", topology), backend="cpu")


def account(run_dir: Path, verdict: RunVerdict, done: subprocess.CompletedProcess[str]) -> str:
    """What there is to know of a run that should have been sound: a run that hangs once must not do so in vain."""
    parts = [*verdict.reasons, done.stdout]
    for path in sorted([*run_dir.glob("rank-*.jsonl"), *run_dir.glob("*.log")]):
        parts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
    return "\n".join(parts)


@pytest.fixture
def hosts(copied: bool, tmp_path: Path) -> Iterator[Hosts]:
    (tmp_path / "runs").mkdir()
    with two_hosts(tmp_path / "lab", private=[tmp_path / "runs"] if copied else []) as lab:
        yield lab


@pytest.mark.skipif(bool(lab_of_hosts.requirements()), reason=lab_of_hosts.requirements())
# With runs/ of its own, the second host does not share the first one's file system: its evidence has to be sent.
@pytest.mark.parametrize("copied", [False, True], ids=["shared", "copied"])
def test_ranks_on_two_hosts_over_ssh(copied: bool, hosts: Hosts, tmp_path: Path, shapes: Path) -> None:
    command = suite_command(tmp_path, "2x1", shapes, "--epochs=1", "--launcher=ssh")
    command += [f"--hosts={hosts.a.address},{hosts.b.address}", f"--ssh-config={hosts.ssh_config}"]

    done = hosts.run(hosts.a, command, cwd=ROOT, capture_output=True, text=True, timeout=400)

    run_dir, verdict = the_run(tmp_path, "2x1")
    assert verdict.outcome in ("recorded", "missing"), account(run_dir, verdict, done)
    assert done.returncode == 0, done.stdout
    places = [(start["rank"], start["local_rank"], start["host"]) for start in starts_of(run_dir)]
    assert places == [(0, 0, "host-a"), (1, 0, "host-b")]
    assert {"telemetry.jsonl", "telemetry-0001.jsonl", "host-0000.log", "host-0001.log"} <= {
        path.name for path in run_dir.iterdir()
    }
    assert hosts.leftovers(hosts.a) == hosts.leftovers(hosts.b) == []
    over_there = [path.name for path in hosts.b.seen(tmp_path / "runs").glob("*Z-*")]
    assert over_there == [] if copied else [run_dir.name], "what was copied stays nowhere else"


@pytest.mark.skipif(bool(lab_of_slurm.requirements()), reason=lab_of_slurm.requirements())
@pytest.mark.parametrize("allocated", [False, True], ids=["from_outside", "in_an_allocation"])
def test_two_ranks_on_two_nodes_by_slurm(allocated: bool, tmp_path: Path, shapes: Path) -> None:
    command = suite_command(tmp_path, "2x1", shapes, "--epochs=1", "--launcher=slurm")
    with slurm_cluster(tmp_path / "slurm") as cluster:
        lead = ["salloc", "--nodes=2", "--quiet"] if allocated else []
        done = cluster.run([*lead, *command], cwd=ROOT, capture_output=True, text=True, timeout=400)
        cluster.wait_idle()
        left = (cluster.leftovers(), cluster.jobs())

    run_dir, verdict = the_run(tmp_path, "2x1")
    assert verdict.outcome in ("recorded", "missing"), account(run_dir, verdict, done)
    assert done.returncode == 0, done.stdout
    assert [start["host"] for start in starts_of(run_dir)] == ["node-a", "node-b"]
    starts = json.loads((run_dir / "run.json").read_text())["starts"]
    assert starts[0][0] == ("srun" if allocated else "salloc")
    assert left == ([], [])


@pytest.mark.integration
def test_all_ranks_of_two_simulated_hosts_leave_evidence_that_is_judged(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "-m", "virtual", "--topo", "2x2", "--smoke")

    assert {case.properties["verdict"] for case in session.by_metric.values()} == {"recorded"}, session.output
    starts = starts_of(session.runs[0])
    assert [start["rank"] for start in starts] == list(range(4))
    assert len({start["host"] for start in starts}) == 2


def test_a_dry_run_prints_the_commands_and_starts_nothing(tmp_path: Path) -> None:
    words = ("--dry-run", "-m", "virtual", "--topo", "2x8", "--launcher", "ssh", "--hosts", "node-1,me@node-2")

    session = run_suite(tmp_path, *words)

    assert session.code == 0, session.output
    assert "ssh -T" in session.output
    assert "me@node-2" in session.output
    assert "--nnodes=2 --node_rank=1 --rdzv_backend=static --master_addr=node-1" in session.output
    assert session.runs == []
    assert not list(tmp_path.glob("runs/*"))


def test_a_dry_run_is_no_pass_of_the_gate(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "--dry-run", "--gate", "-m", "virtual", "--topo", "1x2")

    assert session.code != 0
    assert session.last_line.startswith("GATE: INCOMPLETE")


def test_what_keeps_a_run_from_starting_is_in_the_dry_run_too(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "--dry-run", "-m", "r300", "--topo", "2x8")

    assert session.code != 0
    assert "2x8 needs 2 hosts: name them with --launcher ssh --hosts A,B" in session.output
    assert "--backbone FILE is missing" in session.output
