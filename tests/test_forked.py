"""Forked processes start like fresh ones, and none outlives its requester."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.forked import Forked, _address
from tests.support import ROOT


def tell(*words: str) -> int:
    """What a child sees of itself."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print(*words, os.environ["GIVEN"], os.getcwd(), heard, "_pytest.main" in sys.modules, threading.active_count())
    return 7


def linger(pid_file: str) -> int:
    """Start another process, which hears nothing, and wait with it."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    Path(pid_file).write_text(str(subprocess.Popen([sys.executable, "-c", deaf]).pid))
    time.sleep(600)
    return 0


def test_a_child_has_its_arguments_and_environment_alone_and_its_code_comes_back(tmp_path: Path) -> None:
    output = tmp_path / "output"

    child = Forked("tests.test_forked:tell", "a", "b c", environment={"GIVEN": "x"}, output=str(output))

    assert child.wait(120) == 7
    assert output.read_text() == f"a b c x {ROOT} True True 1\n"


def test_a_requester_that_is_gone_at_once_takes_no_other_child_with_it(tmp_path: Path) -> None:
    output = tmp_path / "output"
    request = {"function": "tests.test_forked:linger", "arguments": [str(tmp_path / "pid")], "output": str(output)}
    with socket.socket(socket.AF_UNIX) as requester:
        requester.connect(f"\0{_address('TRAINER')}")
        requester.sendall(f"{json.dumps({**request, 'environment': {}})}\n".encode("ascii"))

    child = Forked("tests.test_forked:tell", environment={"GIVEN": "x"}, output=str(output))

    assert child.wait(120) == 7


@pytest.mark.parametrize("timeout_s", [0.0, None])
def test_a_child_is_ended_with_all_its_processes(tmp_path: Path, timeout_s: float | None) -> None:
    pid_file = tmp_path / "pid"
    child = Forked("tests.test_forked:linger", str(pid_file), environment=os.environ, output=str(tmp_path / "output"))
    while not (pid_file.exists() and pid_file.read_text()):
        time.sleep(0.05)

    if timeout_s is None:
        child.kill()
    else:
        with pytest.raises(TimeoutError):
            child.wait(timeout_s)

    assert child.returncode == -signal.SIGKILL
    deadline_s = time.monotonic() + 60.0
    while _runs(int(pid_file.read_text())) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not _runs(int(pid_file.read_text()))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # a container's init may bury nobody
    except psutil.NoSuchProcess:
        return False


def test_a_function_that_raises_ends_with_code_1_and_its_traceback(tmp_path: Path) -> None:
    output = tmp_path / "output"

    child = Forked("tests.test_forked:nothing_of_this_name", environment={}, output=str(output))

    assert child.wait(120) == 1
    assert "AttributeError" in output.read_text()
