"""Tests of tests/labs/slurm.py, and of what starting ranks by srun relies on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Iterator

import psutil
import pytest

from tests.labs.hosts import wait_for
from tests.labs.slurm import Cluster, requirements, slurm_cluster

pytestmark = pytest.mark.skipif(bool(requirements()), reason=requirements())

ON_BOTH = ("-N2", "--ntasks-per-node=1")
# With its newline: the piece in which srun passes on what a task writes.
LONGEST_LINE_BYTES = 1024


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: Any) -> Iterator[Cluster]:
    with slurm_cluster(Path(str(tmp_path_factory.mktemp("slurm")))) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster on which nothing runs, neither before the test nor after it."""
    shared_cluster.wait_idle()
    yield shared_cluster
    shared_cluster.cancel_all()
    wait_for(lambda: not shared_cluster.leftovers(), "the end of what the test started")


def words(cluster: Cluster, argv: list[str]) -> list[str]:
    """Run a command on the cluster and return what it wrote, in order."""
    ran = cluster.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran.stderr
    return sorted(str(word) for word in ran.stdout.split())


def sleepers(cluster: Cluster) -> list[str]:
    return [line for line in cluster.leftovers() if "srun" not in line and "salloc" not in line and "sleep" in line]


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants, as an end that nobody can tell anybody of."""
    process = psutil.Process(pid)
    tree = [process, *process.children(recursive=True)]
    for one in tree:
        one.suspend()  # or the first one's end would be noticed by the next
    for one in tree:
        one.kill()


def test_input_reaches_both_tasks_line_by_line_and_its_end_too(cluster: Cluster) -> None:
    program = (
        "import os, sys; me = os.uname().nodename\n"
        "for line in sys.stdin: print(me, len(line), flush=True)\n"
        "print(me, 'end', flush=True)"
    )
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    srun = cluster.popen(["srun", *ON_BOTH, sys.executable, "-c", program], **options)

    heard = []
    for line in ("one\n", "x" * 200_000 + "\n"):
        srun.stdin.write(line)
        heard.append(sorted(srun.stdout.readline() for _ in range(2)))
    srun.stdin.close()
    last = sorted(srun.stdout)

    assert heard == [["node-a 4\n", "node-b 4\n"], ["node-a 200001\n", "node-b 200001\n"]]
    assert last == ["node-a end\n", "node-b end\n"]
    assert srun.wait() == 0
    srun.stdout.close()


def test_lines_of_two_tasks_arrive_whole_up_to_a_length(cluster: Cluster) -> None:
    length = LONGEST_LINE_BYTES - 1
    program = (
        "import os, sys; line = os.uname().nodename[-1] * int(sys.argv[1]) + '\\n'\n"
        "for _ in range(3000): os.write(1, line.encode())"
    )

    lines = words(cluster, ["srun", *ON_BOTH, sys.executable, "-c", program, str(length)])

    assert Counter(lines) == {"a" * length: 3000, "b" * length: 3000}


@pytest.mark.parametrize("argv", [["srun", *ON_BOTH], ["salloc", "-N2", "srun"]])
def test_a_terminated_client_ends_its_tasks_and_returns_the_nodes(cluster: Cluster, argv: list[str]) -> None:
    client = cluster.popen([*argv, "sleep", "984"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(sleepers(cluster)) == 2, "two tasks")

    client.terminate()

    assert client.wait(timeout=30) != 0
    wait_for(lambda: not sleepers(cluster) and not cluster.jobs(), "the end of the job")


def test_a_killed_srun_is_buried_by_its_other_half(cluster: Cluster) -> None:
    client = cluster.popen(["srun", *ON_BOTH, "sleep", "983"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(sleepers(cluster)) == 2, "two tasks")

    client.kill()
    client.wait()

    wait_for(lambda: not sleepers(cluster) and not cluster.jobs(), "the end of the job")


@pytest.mark.parametrize("argv", [["srun", *ON_BOTH], ["salloc", "-N2", "srun"]])
def test_tasks_outlive_all_of_a_killed_srun_and_are_not_told(cluster: Cluster, argv: list[str], tmp_path: Path) -> None:
    # Why whoever runs under srun must not wait for the end of its input: Slurm's own limits are minutes, or none.
    found = tmp_path / "found"
    program = f"trap 'touch {found}; exit' TERM HUP CONT; cat; touch {found}"
    client = cluster.popen([*argv, "sh", "-c", program], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_for(lambda: sum(Path(line).name == "cat" for line in cluster.leftovers()) == 2, "two tasks")

    kill_tree(client.pid)
    client.stdin.close()
    client.wait()
    time.sleep(2)

    assert not found.exists()
    assert [job.split()[1] for job in cluster.jobs()] == ["RUNNING"]


def test_nothing_of_a_cluster_is_left(tmp_path: Path) -> None:
    with slurm_cluster(tmp_path) as cluster:
        networks = {cluster.hosts.a.network, cluster.hosts.b.network}
        job = cluster.popen(["srun", *ON_BOTH, "sleep", "981"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: len(sleepers(cluster)) == 2, "two tasks")

    job.wait()
    left = [name for name in filter(str.isdigit, os.listdir("/proc")) if _network(name) in networks]
    assert left == []


def _network(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""
