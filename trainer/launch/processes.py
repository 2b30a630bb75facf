"""PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER, so that no rank survives its launcher."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time

import psutil

_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_POLL_S = 0.05
_KILL_S = 10.0
# Loaded here: between fork and exec it would be too late to wait for the loader's lock.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent dies (PR_SET_PDEATHSIG); does nothing outside Linux.

    Can be called between fork and exec: the setting survives exec.
    """
    _prctl(_SET_PARENT_DEATH_SIGNAL, int(number))


def adopt_orphans() -> None:
    """Become the parent of every orphaned descendant (PR_SET_CHILD_SUBREAPER), so that `end_descendants` finds it."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def end_descendants(grace_s: float) -> list[str]:
    """Send SIGTERM to all descendants of this process, and SIGKILL after `grace_s`; return those that were killed.

    Those that appear meanwhile are ended too. A stopped process does not react to SIGTERM and is killed.
    """
    asked: set[int] = set()
    deadline_s = time.monotonic() + grace_s
    while True:
        family = _living_descendants()
        if not family or time.monotonic() > deadline_s:
            break
        for member in family:
            if member.pid not in asked:
                asked.add(member.pid)
                _send(member, signal.SIGTERM)
        time.sleep(_POLL_S)
    killed = []
    deadline_s = time.monotonic() + _KILL_S  # uninterruptible sleep, on a dead disk or device, cannot be ended
    while family and time.monotonic() < deadline_s:
        for member in family:
            killed.append(_described(member))
            _send(member, signal.SIGKILL)
        psutil.wait_procs(family, timeout=1.0)
        family = _living_descendants()
    reap()
    return list(dict.fromkeys(killed))


def reap() -> None:
    """Reap every child that has ended, adopted ones too."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def _living_descendants() -> list[psutil.Process]:
    living = []
    for member in psutil.Process().children(recursive=True):
        try:
            if member.status() != psutil.STATUS_ZOMBIE:
                living.append(member)
        except psutil.NoSuchProcess:
            continue
    return living


def _send(member: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):  # it is gone, or not ours to end
        member.send_signal(number)


def _described(member: psutil.Process) -> str:
    try:
        return f"{member.pid} ({' '.join(member.cmdline()[-3:])})"
    except psutil.Error:
        return str(member.pid)


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, value, 0, 0, 0)
