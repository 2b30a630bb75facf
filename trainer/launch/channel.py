"""One process that a launcher starts, seen from the session: its messages, its last words, and the heartbeat to it."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, Mapping, Sequence

from trainer.launch.messages import Assembler, parse
from trainer.launch.source import PROGRAM_FOLDER
from trainer.launch.starts import Start

_TAIL_LINES = 20


class Channel:
    """Starts the process. Lines of its output that carry `token` are messages; all others go to the log.

    Raises OSError where the program cannot be started.
    """

    def __init__(self, start: Start, token: str, log: Path) -> None:
        self.start = start
        self._token = token
        self._log = log
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._unsent = b""  # an order can be longer than what a pipe takes at once
        self._sending = threading.Lock()  # a heartbeat must not go to whoever got a closed lifeline's number
        self.process = subprocess.Popen(
            start.command,
            cwd=str(PROGRAM_FOLDER),
            env={**os.environ, **start.added},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches pytest alone, which then ends the ranks in order
        )
        os.set_blocking(self.process.stdin.fileno(), False)  # type: ignore[union-attr]
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def send(self, text: str) -> None:
        """Write a line as far as there is room, the rest with the next one; who does not read will be found silent."""
        with self._sending, contextlib.suppress(OSError, ValueError):
            self._unsent += text.encode("utf-8")
            while self._unsent:
                sent = os.write(self.process.stdin.fileno(), self._unsent)  # type: ignore[union-attr]
                self._unsent = self._unsent[sent:]

    def messages(self) -> Sequence[Mapping[str, Any]]:
        """Return what has come since the last call; of a process that has ended, all of it."""
        if self.process.poll() is not None:
            for reader in self._readers:
                reader.join(2.0)  # a process that it left behind may hold the pipe open
        found = []
        while True:
            try:
                found.append(self._messages.get_nowait())
            except queue.Empty:
                return found

    @property
    def last_words(self) -> list[str]:
        """The last lines that were no messages."""
        return [text for text in list(self._tail) if text.strip()]  # a copy: the readers may be adding to it

    def close(self) -> None:
        """Close the lifeline: the agents on its other end then end their ranks."""
        with self._sending, contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]

    def kill(self) -> None:
        """Kill the process and what it has started in its own group: an agent may stand behind --exec-prefix."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _read(self, stream: Any) -> None:
        assembler = Assembler()
        for raw in iter(stream.readline, b""):
            message = parse(raw) if raw.startswith(b"{") else None
            if message is not None and message.get("t") == self._token:
                whole = assembler.take(message)
                if whole is not None:
                    self._messages.put(dict(whole))
                continue
            text = raw.decode("utf-8", errors="replace").rstrip()
            self._tail.append(text)
            # On a full disk the last words are still here.
            with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:
                log.write(f"{self.start.name}: {text}\n")
