"""A real PostgreSQL server on this machine: its own folder, socket and port, a password, and gone afterwards."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence
from urllib.parse import quote

import psutil

from tests.labs.hosts import wait_for

USER, PASSWORD = "postgres", "s3cret/@:% word"
_PROGRAMS = Path("/usr/lib/postgresql")  # Debian's place; a folder for each version


@functools.lru_cache(maxsize=None)
def requirements() -> str:
    """Return why there can be no PostgreSQL here, "" where there can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs root on Linux: the server runs as another user"
    try:
        _program("initdb")
        pwd.getpwnam(USER)
        import psycopg  # noqa: F401 - the driver
    except (FileNotFoundError, KeyError, ImportError) as error:
        return f"needs PostgreSQL and psycopg ({error}): apt-get install postgresql; pip install 'psycopg[binary]'"
    return "" if shutil.which("setpriv") else "needs setpriv: apt-get install util-linux"


def _program(name: str) -> str:
    found = sorted(_PROGRAMS.glob(f"*/bin/{name}"))
    if not found:
        raise FileNotFoundError(f"no {name} under {_PROGRAMS}")
    return str(found[-1])


@dataclass(frozen=True)
class Server:
    """A server that runs; `folder` has its data, its socket and its log."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def url(self, database: str = "postgres", *, password: str = PASSWORD) -> str:
        """Return the URL of a database, over TCP and with the password."""
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres") -> str:
        """Return the URL of a database, over the socket, where no password is asked for."""
        return f"postgresql://{USER}@/{database}?host={self.folder}&port={self.port}"

    def create(self, database: str) -> str:
        """Make an empty database and return its URL."""
        self.psql(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def psql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement and return what psql prints of its rows."""
        words = ["psql", "-X", "-A", "-t", "-h", str(self.folder), "-p", str(self.port), "-U", USER, "-d", database]
        done = subprocess.run([*words, "-c", statement], capture_output=True, text=True, check=True)
        return str(done.stdout).strip()

    def processes(self) -> list[int]:
        """Return the process ids of the server and of those that it started."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [self.process.pid, *(child.pid for child in children)]


@contextlib.contextmanager
def postgresql_server() -> Iterator[Server]:
    """A server with an empty cluster, in a temporary folder; it is gone at the end, also if this process is killed."""
    with contextlib.ExitStack() as ends:
        # Not in a test's folder: the server's user cannot get there, and the path of a socket is short.
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="lab-postgresql-")))
        shutil.chown(str(folder), USER, USER)
        data, log, password = folder / "data", folder / "log", folder / "password"
        password.write_text(PASSWORD)
        shutil.chown(str(password), USER, USER)
        words = [f"--pwfile={password}", f"--username={USER}", "--auth-local=trust", "--auth-host=scram-sha-256"]
        initdb = [_program("initdb"), "-D", str(data), "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", *words]
        subprocess.run(_as_user(initdb), check=True, capture_output=True, cwd=str(folder))
        port = _free_port()
        with open(log, "wb") as out:
            settings = [f"unix_socket_directories={folder}", f"port={port}", "listen_addresses=127.0.0.1", "fsync=off"]
            flags = [word for setting in settings for word in ("-c", setting)]
            process = subprocess.Popen(
                _as_user([_program("postgres"), "-D", str(data), *flags]),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=str(folder),
            )
        ends.callback(_end, process)
        ready = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_for(lambda: subprocess.run(ready).returncode == 0, "the PostgreSQL server", log)
        yield Server(folder, port, process)


def _as_user(command: Sequence[str]) -> list[str]:
    # SIGQUIT is the server's immediate shutdown: it takes its children with it.
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--pdeathsig=QUIT", *command]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
