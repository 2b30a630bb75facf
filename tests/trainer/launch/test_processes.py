"""No process outlives the one that answers for it; all processes here are real."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import psutil

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 30.0

# Starts what it is told to, says its number, and on a line of input ends all its descendants and says whom it killed.
ADOPTER = """
import json, subprocess, sys, time
from trainer.launch.processes import adopt_orphans, die_with_parent, end_descendants

adopt_orphans()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, preexec_fn=die_with_parent)
print(child.stdout.readline().decode().strip(), flush=True)
sys.stdin.readline()
print(json.dumps(end_descendants(float(sys.argv[2]))), flush=True)
sys.stdin.readline()
"""
SLEEPER = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""
# Its child is an orphan in a session of its own before anybody hears of it.
LEAVES_AN_ORPHAN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {code!r}], stdout=subprocess.PIPE, start_new_session=True)
print(child.stdout.readline().decode().strip(), flush=True)
os._exit(0)
"""
MULTIPLIES = """
import os, signal, subprocess, sys, time
def another(*_):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    os._exit(0)
signal.signal(signal.SIGTERM, another)
print(os.getpid(), flush=True)
time.sleep(600)
"""


def until(condition: Callable[[], Any]) -> bool:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def adopter(code: str, grace_s: float = 0.3) -> Iterator[tuple[Any, int]]:
    """Yield a process that answers for others, and the number of the one that `code` told it of."""
    command = [sys.executable, "-c", ADOPTER, code, str(grace_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=str(ROOT))
    number = int(process.stdout.readline())  # type: ignore[union-attr]
    try:
        yield process, number
    finally:
        process.kill()
        process.communicate()
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def end(process: Any) -> str:
    """Have it end its descendants; return whom it had to kill."""
    process.stdin.write("end\n")
    process.stdin.flush()
    return str(process.stdout.readline())


def test_a_child_dies_with_its_parent_though_that_one_is_killed() -> None:
    with adopter(SLEEPER) as (process, child):
        assert not gone(child)

        process.kill()

        assert until(lambda: gone(child))


def test_a_child_that_does_not_hear_sigterm_dies_with_its_parent_too() -> None:
    with adopter(STUBBORN) as (process, child):
        process.kill()

        assert until(lambda: gone(child))


def test_who_hears_sigterm_is_not_killed() -> None:
    with adopter(SLEEPER, grace_s=20.0) as (process, child):
        killed = end(process)

        assert killed == "[]\n"
        assert gone(child)


def test_who_does_not_hear_sigterm_is_killed_and_named() -> None:
    with adopter(STUBBORN) as (process, child):
        killed = end(process)

        assert f'"{child} (' in killed
        assert gone(child)
        assert psutil.Process(process.pid).children(recursive=True) == []


def test_a_stopped_orphan_in_a_session_of_its_own_is_found_and_ended() -> None:
    with adopter(LEAVES_AN_ORPHAN.format(code=SLEEPER)) as (process, orphan):
        assert until(lambda: psutil.Process(orphan).ppid() == process.pid)
        os.kill(orphan, signal.SIGSTOP)  # of two signals that wait for a busy machine, SIGTERM is taken first
        assert until(lambda: psutil.Process(orphan).status() == psutil.STATUS_STOPPED)

        killed = end(process)

        assert str(orphan) in killed
        assert gone(orphan)
        assert psutil.Process(process.pid).children(recursive=True) == []


def test_who_appears_while_others_are_being_ended_is_ended_too() -> None:
    with adopter(MULTIPLIES, grace_s=20.0) as (process, child):
        end(process)

        assert gone(child)
        assert psutil.Process(process.pid).children(recursive=True) == []


def test_no_zombie_is_left_of_those_that_were_ended() -> None:
    with adopter(LEAVES_AN_ORPHAN.format(code=STUBBORN)) as (process, orphan):
        end(process)

        assert not psutil.pid_exists(orphan)
