"""Processes forked from one that has done their imports, so that sessions and simulated ranks start in milliseconds.

One server forks pytest sessions; another, which has imported torch, forks ranks. With pytest-xdist the session starts
them for all workers (conftest.py), otherwise their first caller does. A server imports, listens and forks; it never
runs a test, so each child is a fresh process whose imports are done. Children inherit the addresses: a session forks
ranks too.
A child is killed with its process group when its requester closes the connection or ends.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Mapping

from tests.support import ROOT

_ADDRESS = "TESTS_FORK_SERVER_OF_"
_PRELOADED = {
    "TRAINER": (
        *("torch", "torchvision", "torch.distributed", "pycocotools.cocoeval", "trainer.loop.session"),
        *("trainer.__main__", "trainer.devices.virtual", "pytest", "fixtures.boot.boot"),
    ),
    # A fork of a process without torch costs a tenth. Pytest's plug-ins are imported by each session, to rewrite their
    # assert statements; here is what those import.
    "SESSIONS": (
        *("pytest", "verdict.judge", "reports.console", "reports.html.pages", "reports.junit", "fixtures.boot.boot"),
        *("fixtures.ask.runs", "fixtures.ask.scoring", "fixtures.closing", "fixtures.gate.gatekeeper"),
        *("fixtures.preflight", "fixtures.select.session", "fixtures.select.registry"),
        *("jinja2", "numpy.ma", "execnet.multi", "pdb", "packaging.version", "trainer.devices.virtual"),
        *(f"_pytest.{name}" for name in ("faulthandler", "helpconfig", "junitxml", "skipping", "unittest", "warnings")),
    ),
}
_START_S = 300.0
_BELOW_EPHEMERAL = (10_000, 30_000)


class Forked:
    """A child of the server: calls `function` ("module:name") with JSON `arguments`, and exits with its code."""

    def __init__(
        self,
        function: str,
        *arguments: Any,
        environment: Mapping[str, str],
        output: str,
        server: str = "TRAINER",
    ) -> None:
        address = _address(server)
        found = {**environment, **{name: text for name, text in os.environ.items() if name.startswith(_ADDRESS)}}
        request = {"function": function, "arguments": arguments, "environment": found, "output": output}
        self.returncode: int | None = None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_START_S)
        self._socket.connect(f"\0{address}")
        self._socket.sendall(f"{json.dumps(request)}\n".encode("ascii"))
        self._answers = self._socket.makefile("rb")
        self.pid = self._next()

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self.returncode is None and _readable(self._socket, 0.0):
            self.returncode = self._next()
            self._socket.close()
        return self.returncode

    def wait(self, timeout_s: float) -> int:
        """Return the exit code. Raises TimeoutError, the child killed, when it runs for longer than that."""
        if self.returncode is None and not _readable(self._socket, timeout_s):
            self.kill()
            raise TimeoutError(f"process {self.pid} still ran after {timeout_s:.0f} s")
        code = self.poll()
        assert code is not None
        return code

    def kill(self) -> None:
        """End it and all its processes; harmless when it has ended."""
        if self.poll() is None:
            self._socket.shutdown(socket.SHUT_WR)
            assert _readable(self._socket, _START_S), f"process {self.pid} does not end"
            self.poll()

    def _next(self) -> int:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the process that forks sessions and ranks (tests/forked.py) has ended")
        return int(line)


def run_two_ranks(function: str, *arguments: Any, folder: Path) -> None:
    """Have two children call `function` with their rank, a port to meet at, and `arguments`; output is in `folder`."""
    logs = [folder / f"rank-{rank}.log" for rank in (0, 1)]
    assert run_ranks(2, function, *arguments, folder=folder) == [0, 0], [log.read_text() for log in logs]


def run_ranks(count: int, function: str, *arguments: Any, folder: Path) -> list[int]:
    """Have so many children call `function` likewise; return their exit codes."""
    port = free_port()
    logs = [folder / f"rank-{rank}.log" for rank in range(count)]
    ranks = [
        Forked(function, rank, port, *arguments, environment=os.environ, output=str(log))
        for rank, log in enumerate(logs)
    ]
    try:
        return [rank.wait(_START_S) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()


def free_port() -> int:
    """Return a port without a listener, outside the range of ephemeral ports."""
    while True:
        port = random.randrange(*_BELOW_EPHEMERAL)
        with socket.socket() as candidate:
            if candidate.connect_ex(("127.0.0.1", port)) != 0:
                return port


def _readable(connection: socket.socket, timeout_s: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


def start_servers() -> None:
    """Start the servers now, so that all pytest workers which this process starts share them."""
    for server in _PRELOADED:
        _address(server)


def _address(name: str) -> str:
    """Return the address of a server, started now where there is none."""
    variable = _ADDRESS + name
    if variable not in os.environ:
        address = f"conformance-tests-{os.getpid()}-{secrets.token_hex(8)}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{address}")  # an abstract name (Linux): no socket file to remove
            listener.listen(64)
            server = subprocess.Popen(
                [sys.executable, "-c", f"from tests.forked import serve; serve({listener.fileno()}, {name!r})"],
                cwd=str(ROOT),
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", variable: address},
                stdin=subprocess.PIPE,  # closed by the system when this process ends: then the server ends too
                pass_fds=[listener.fileno()],
            )
        _SERVERS.append(server)
        os.environ[variable] = address
    return os.environ[variable]


_SERVERS: list[subprocess.Popen[bytes]] = []


def serve(listening: int, server: str) -> None:
    """Fork a child for every connection until standard input ends, then kill them all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, whose end is ours
    listener = socket.socket(fileno=listening)
    for name in _PRELOADED[server]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    children: dict[int, socket.socket] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    selector = selectors.DefaultSelector()
    for source in (listener, woken, 0):
        selector.register(source, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj == 0:
                for pid in children:
                    _kill_group(pid)
                os._exit(0)
            elif key.fileobj == woken:
                os.read(woken, 4096)
                for pid, code in _ended():
                    connection = children.pop(pid)
                    with contextlib.suppress(KeyError):
                        selector.unregister(connection)
                    with contextlib.suppress(OSError):
                        connection.sendall(f"{code}\n".encode("ascii"))
                    connection.close()
            elif key.fileobj is listener:
                connection, _ = listener.accept()
                line = connection.makefile("rb").readline()
                if not line:
                    connection.close()  # it was gone before it had asked
                    continue
                request = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    for inherited in (selector, listener, connection, *children.values()):
                        inherited.close()
                    _run(request)
                with contextlib.suppress(OSError):  # it is gone meanwhile: its end is read below
                    connection.sendall(f"{pid}\n".encode("ascii"))
                children[pid] = connection
                selector.register(connection, selectors.EVENT_READ, pid)
            else:  # the requester of this child has closed its end
                selector.unregister(key.fileobj)
                _kill_group(key.data)


def _ended() -> list[tuple[int, int]]:
    """(process id, exit code) of children that have ended, nothing that they started left running."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                break
            _kill_group(found.si_pid)  # before its number is free for another process
            _, status = os.waitpid(found.si_pid, 0)
            ended.append((found.si_pid, -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)))
    return ended


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _run(request: Mapping[str, Any]) -> None:
    """Be the child: a process group of its own, signals as in a process that a shell starts, output to a file."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(str(ROOT))
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        module, _, name = request["function"].partition(":")
        code = getattr(importlib.import_module(module), name)(*request["arguments"]) or 0
        atexit._run_exitfuncs()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def pytest_session(*arguments: str) -> int:
    """Be `python -m pytest`."""
    import pytest

    sys.argv = [os.path.join(os.path.dirname(pytest.__file__), "__main__.py"), *arguments]
    return int(pytest.main(list(arguments)))


def rank(*flags: str) -> int:
    """Be `python -u -m trainer`."""
    import trainer.__main__ as program

    program._leave(program.main(flags))
    return 1
