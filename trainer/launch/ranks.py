"""The ranks of one host: the command that starts them, their environment, and their stack dumps when they hang."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import psutil

from trainer.devices import load_backend
from trainer.launch.launchers import PROGRAM_FOLDER

_ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "0"}
_DUMP_TIMEOUT_S = 15.0


def ranks_command(
    python: str, flags: Sequence[str], *, nodes: int, node: int, ranks_per_node: int, address: str, port: int
) -> list[str]:
    """Return the torchrun command that starts the ranks of host `node` of `nodes`.

    A single rank is started without torchrun, which saves the seconds that torchrun needs to import torch. Without
    `address` one host uses c10d rendezvous on a port that the system chooses. Else it is static: ranks then follow the
    order of the hosts, and nothing depends on what a host's name resolves to (torch 1.12's c10d hands out the name of
    the first to come) or on its time of day (c10d's keep-alive compares it).
    """
    if nodes * ranks_per_node == 1:
        return [python, "-u", "-m", "trainer", *flags]
    command = [python, "-m", "torch.distributed.run", f"--nproc_per_node={ranks_per_node}", "--max_restarts=0"]
    command += ["--monitor_interval=1"]
    if not address:
        command += ["--nnodes=1", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    else:
        command += [f"--nnodes={nodes}", f"--node_rank={node}", "--rdzv_backend=static"]
        command += [f"--master_addr={address}", f"--master_port={port}"]
    return [*command, "-m", "trainer", *flags]


def chosen_environment(
    backend_name: str, inherited: Mapping[str, str], *, ranks_per_node: int, interface: str | None
) -> dict[str, str]:
    """Return the variables to add to `inherited` for the ranks; values already set there are kept.

    The exception: what torchrun would set is always set for a single rank, as inherited values are another job's.

    `interface` is the network interface towards the other hosts, "" if unknown, None if there are no other hosts.
    """
    wanted: dict[str, str] = dict(load_backend(backend_name).environment)
    if interface != "":
        # On one host loopback is enough, and containers often cannot resolve their own name.
        wanted["GLOO_SOCKET_IFNAME"] = "lo" if interface is None else interface
    # Each rank sets its own number of threads; unset, torchrun warns on every start.
    wanted["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // ranks_per_node))
    wanted["PYTHONUNBUFFERED"] = "1"
    added = {key: value for key, value in wanted.items() if key not in inherited}
    paths = [str(PROGRAM_FOLDER), *filter(None, [inherited.get("PYTHONPATH")])]
    if interface is None and ranks_per_node == 1:
        added.update(_ALONE)
    added["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(os.pathsep.join(paths).split(os.pathsep)))
    return added


def ranks_here() -> Iterator[tuple[int, psutil.Process]]:
    """Yield (rank, process) of the ranks among this process's descendants."""
    for member in psutil.Process().children(recursive=True):
        try:
            words = member.cmdline()
            if "-m" not in words or words[words.index("-m") + 1 :][:1] != ["trainer"]:
                continue
            # A loader's worker has its rank's command line and environment; a rank's parent is torchrun or the agent.
            parent = member.parent()
            if parent is not None and parent.cmdline() == words:
                continue
            yield int(member.environ()["RANK"]), member
        except (psutil.Error, KeyError, ValueError, IndexError):
            continue


def dump_stacks(folder: Path) -> list[dict[str, Any]]:
    """Write `rank-NNNN.stack.log` by py-spy for each rank of this host; return rank, pid, state and problem of each."""
    dumps, members = [], sorted(ranks_here(), key=lambda one: one[0])
    for rank, member in members:
        try:
            state, pid = member.status(), member.pid
        except psutil.Error:
            continue
        text, problem = _stack(pid)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        head = f"rank {rank}, process {pid}, state {state}, {now}\n"
        path = folder / f"rank-{rank:04d}.stack.log"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{head}{text or problem}\n")
        except OSError as error:
            problem = f"no stack: {path.name} cannot be written: {error.strerror}"
        dumps.append({"rank": rank, "pid": pid, "state": state, "problem": problem})
    end_s = time.monotonic() + _DUMP_TIMEOUT_S  # for all of them: the session waits for the answer
    for rank, member in members:
        for worker in _workers_of(member):
            if time.monotonic() < end_s:
                _dump_worker(folder / f"rank-{rank:04d}.stack.log", worker)
    return dumps


def _workers_of(rank: psutil.Process) -> list[psutil.Process]:
    """Return a rank's loader workers: forked, they have its command line."""
    try:
        words = rank.cmdline()
        return [child for child in rank.children() if child.cmdline() == words]
    except psutil.Error:
        return []


def _dump_worker(path: Path, worker: psutil.Process) -> None:
    """Add a worker's stack to its rank's, with variables: among them is the file that it reads."""
    with contextlib.suppress(psutil.Error, OSError):
        head = f"loader worker, process {worker.pid}, state {worker.status()}\n"
        text, problem = _stack(worker.pid, "--locals")
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{head}{text or problem}\n")


def _stack(pid: int, *more: str) -> tuple[str, str]:
    """(stacks of all threads, problem)."""
    beside = Path(sys.executable).parent / "py-spy"
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        return "", "no stack: py-spy is not installed beside this Python; `pip install py-spy`"
    # Without --nonblocking py-spy stops the process first, and would wait for one that is stopped already.
    command = [program, "dump", "--nonblocking", *more, "--pid", str(pid)]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=_DUMP_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"no stack: {error}"
    if done.returncode == 0:
        return done.stdout, ""
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return "", (
        f"no stack: py-spy ended with code {done.returncode}: {said} (it may look into another process only as root, "
        "with CAP_SYS_PTRACE in a container, or with kernel.yama.ptrace_scope=0)"
    )
