"""The protocol between a session and the agents on its hosts, and both ends of the pipes that carry it.

Messages are JSON objects, one a line, on an agent's standard input and output. The session sends the order first, then
`go`, a heartbeat every second, and at the end `stop` or `done`. An agent's lines carry the order's token, so that
output of a login shell or a container is never taken for a message.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Mapping, Sequence

from trainer.launch.launchers import PROGRAM_FOLDER, Start

BEAT_S = 1.0
SILENCE_S = 30.0
"""An agent that has received nothing for so long ends its ranks: the session or the network to it is gone."""

LINE_BYTES = 32_768
SRUN_LINE_BYTES = 1024
"""The longest line, newline included, that srun does not mix with another task's (Slurm 22.05, measured)."""

GONE = "the session that started this run is gone"
UNHEARD = "nothing was heard of the session"

_PART_TEXT = 300  # characters of a message in one of its parts; JSON escapes double some of them
_TAIL_LINES = 20
_WRITE_WAIT_S = 10.0
_PIPE_BYTES = 4096  # a pipe that select reports as writable takes so much without blocking


@dataclass(frozen=True)
class Order:
    """What the agents of a run have to do; the same for all hosts.

    `flags` are the trainer's. `devices` are those to use, None for any free ones of `device_count` (None: as many as
    ranks). `shapes` is a generated data set to make if it is missing: its folder and its parameters. `files` are small
    texts to put into the run's folder for the ranks. `attempt` counts restarts, from 0. `simulated_hosts`: several
    agents on one host stand for several.
    """

    token: str
    run_dir: str
    source: str
    flags: list[str]
    backend: str
    nodes: int
    ranks_per_node: int
    data: str | None
    backbone: str | None = None
    devices: list[str] | None = None
    device_count: int | None = None
    shapes: Mapping[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    leases: str | None = None
    lease_wait_s: float = 10.0
    attempt: int = 0
    silence_s: float = SILENCE_S
    simulated_hosts: bool = False
    line_bytes: int = LINE_BYTES
    holder: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return the order as a line."""
        return line({"order": asdict(self)})

    @classmethod
    def of(cls, record: Any) -> Order:
        """Return the order in a message. Raises ValueError for one of another version of this program."""
        try:
            return cls(**record)
        except TypeError:
            raise ValueError(
                "an order that this version does not know: the hosts have different versions of the suite"
            ) from None


@dataclass(frozen=True)
class Hello:
    """A host's answer to the order; `problems` lists what is missing, `addresses` are [address, prefix length].

    `shared`: whether it sees the session's file system.
    """

    node: int
    host: str
    utc_s: float
    pid: int
    source: str
    shared: bool
    port: int
    devices: list[str]
    addresses: list[list[Any]]
    problems: list[str]


@dataclass(frozen=True)
class Ended:
    """How a host's part of the run ended.

    `exit_code` is torchrun's, None if it was ended early or never started, which `reason` explains. `sent` is the size
    and SHA-256 of the evidence that was transferred, None with a shared file system; `free_bytes` what is free on disk.
    """

    exit_code: int | None = None
    reason: str = ""
    free_bytes: int | None = None
    sent: list[Any] | None = None


def line(message: Mapping[str, Any]) -> str:
    """Return a message as a line."""
    return json.dumps(message, separators=(",", ":")) + "\n"


def lines(message: Mapping[str, Any], envelope: Mapping[str, Any], longest: int) -> list[str]:
    """Return a message as one line with `envelope` in it, or in several parts if it is longer than `longest` bytes."""
    whole = line({**envelope, **message})
    if len(whole) <= longest:
        return [whole]
    text = line(message)
    parts = [text[at : at + _PART_TEXT] for at in range(0, len(text), _PART_TEXT)]
    return [line({**envelope, "part": [number, len(parts)], "of": part}) for number, part in enumerate(parts)]


def parse(text: bytes | str) -> dict[str, Any] | None:
    """Return the message of a line, None if it is not a JSON object."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


class Assembler:
    """Joins the parts of long messages; parts of different hosts may be interleaved."""

    def __init__(self) -> None:
        self._open: dict[int, str] = {}

    def take(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the whole message that a record is, or completes; None while parts are missing."""
        if "part" not in record:
            return record
        node, place, text = record.get("node"), record["part"], record.get("of")
        if type(node) is not int or not isinstance(text, str) or not isinstance(place, list) or len(place) != 2:
            return None
        self._open[node] = text if place[0] == 0 else self._open.get(node, "") + text
        if place[0] != place[1] - 1:
            return None
        message = parse(self._open.pop(node))
        return None if message is None else {**message, "node": node}


class Channel:
    """The session's end: starts the process of a launcher, sends to its agents, and collects their messages.

    Lines of output with `token` are messages; all others go to the file `log`. Raises OSError if the program cannot be
    started.
    """

    def __init__(self, start: Start, token: str, log: Path) -> None:
        self.start = start
        self._token = token
        self._log = log
        self._messages: queue.Queue[Mapping[str, Any]] = queue.Queue()
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._unsent = b""  # an order can be longer than a pipe's buffer
        self._sending = threading.Lock()  # or a heartbeat could be written to a closed descriptor's number
        self.process = subprocess.Popen(
            start.command,
            cwd=str(PROGRAM_FOLDER),
            env={**os.environ, **start.added},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches pytest alone, which then ends the ranks in order
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._input = self.process.stdin
        os.set_blocking(self._input.fileno(), False)
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def send(self, text: str) -> None:
        """Write a line without blocking; what the pipe does not take goes out with the next line."""
        with self._sending, contextlib.suppress(OSError, ValueError):
            self._unsent += text.encode("utf-8")
            while self._unsent:
                self._unsent = self._unsent[os.write(self._input.fileno(), self._unsent) :]

    def messages(self) -> Sequence[Mapping[str, Any]]:
        """Return the messages since the last call; after the process has ended, all that are left."""
        if self.process.poll() is not None:
            for reader in self._readers:
                reader.join(2.0)  # a process that it left behind may hold the pipe open
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._messages.get_nowait())
        return found

    @property
    def last_words(self) -> list[str]:
        """The last lines of output that were no messages."""
        return [text for text in list(self._tail) if text.strip()]  # a copy: the readers may be adding to it

    def close(self) -> None:
        """Close the agents' standard input: they then end their ranks."""
        with self._sending, contextlib.suppress(OSError):
            self._input.close()

    def kill(self) -> None:
        """Kill the process and its process group: an agent may stand behind --exec-prefix."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _read(self, stream: IO[bytes]) -> None:
        assembler = Assembler()
        begin = line({"t": self._token})[:-2].encode("utf-8")
        for raw in iter(stream.readline, b""):
            at = max(raw.find(begin), 0)  # a login shell's output before it need not end with a line
            message = parse(raw[at:]) if raw.startswith(b"{", at) else None
            if message is not None and message.get("t") == self._token:
                whole = assembler.take(message)
                if whole is not None:
                    self._messages.put(whole)
                raw = raw[:at]
                if not raw:
                    continue
            text = raw.decode("utf-8", errors="replace").rstrip()
            self._tail.append(text)
            with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:  # the disk may be full
                log.write(f"{self.start.name}: {text}\n")


class ControlReader:
    """The agent's standard input: the session's messages in a queue, and when the last heartbeat came."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._heard_s = time.monotonic()
        self._closed = False
        threading.Thread(target=self._read, args=(stream,), name="control", daemon=True).start()

    def next(self, wait_s: float = 0.0) -> dict[str, Any] | None:
        """Return the next message, None if there is none within `wait_s`."""
        try:
            return self._messages.get(timeout=wait_s) if wait_s else self._messages.get_nowait()
        except queue.Empty:
            return None

    def lost(self, silence_s: float) -> str:
        """Return why the session counts as gone, "" while its heartbeat goes on."""
        if self._closed:
            return GONE
        silent_s = time.monotonic() - self._heard_s
        return f"{UNHEARD} for {silent_s:.0f} s" if silent_s > silence_s else ""

    def _read(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone cannot be read
            for text in iter(stream.readline, b""):
                self._heard_s = time.monotonic()
                message = parse(text)
                if message:
                    self._messages.put(message)
        self._closed = True


class ControlWriter:
    """The agent's standard output: every line carries the order's token and the host's number."""

    def __init__(self, token: str, node: int, line_bytes: int) -> None:
        self._envelope = {"t": token, "node": node}
        self._line_bytes = line_bytes

    def send(self, message: Mapping[str, Any]) -> bool:
        """Write a message; return False if the session does not read it within 10 s, or is gone."""
        data = "".join(lines(message, self._envelope, self._line_bytes)).encode("utf-8")
        handle = sys.stdout.fileno()
        deadline_s = time.monotonic() + _WRITE_WAIT_S
        while data and time.monotonic() < deadline_s:
            _, ready, _ = select.select([], [handle], [], 0.5)
            try:
                data = data[os.write(handle, data[:_PIPE_BYTES]) :] if ready else data
            except OSError:
                return False
        return not data
