"""Where every rank of a host is right now: stack dumps by py-spy, for the evidence of a run that has gone silent."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import psutil

_TIMEOUT_S = 15.0


def ranks_here() -> Iterator[tuple[int, psutil.Process]]:
    """Yield (rank, process) of the ranks among this process's descendants."""
    for member in psutil.Process().children(recursive=True):
        try:
            words = member.cmdline()
            if "-m" not in words or words[words.index("-m") + 1 :][:1] != ["trainer"]:
                continue
            # A loader's worker has its rank's command line and environment; a rank's parent is torchrun, or the agent.
            parent = member.parent()
            if parent is not None and parent.cmdline() == words:
                continue
            yield int(member.environ()["RANK"]), member
        except (psutil.Error, KeyError, ValueError, IndexError):
            continue


def dump_stacks(folder: Path) -> list[dict[str, Any]]:
    """Write `rank-NNNN.stack.log` for each rank of this host; return rank, pid, its state, and what went wrong."""
    told = []
    for rank, member in sorted(ranks_here(), key=lambda one: one[0]):
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
        told.append({"rank": rank, "pid": pid, "state": state, "problem": problem})
    return told


def _stack(pid: int) -> tuple[str, str]:
    """(stacks of all threads, what went wrong)."""
    beside = Path(sys.executable).parent / "py-spy"
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        return "", "no stack: py-spy is not installed beside this Python; `pip install py-spy`"
    # Without --nonblocking py-spy stops the process first, and would wait for one that is stopped already.
    command = [program, "dump", "--nonblocking", "--pid", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"no stack: {error}"
    if done.returncode == 0:
        return done.stdout, ""
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return "", (
        f"no stack: py-spy ended with code {done.returncode}: {said} (it may look into another process only as root, "
        "with CAP_SYS_PTRACE in a container, or with kernel.yama.ptrace_scope=0)"
    )
