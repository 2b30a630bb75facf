"""An agent's ends of the line to its session: what it hears, for how long it has heard nothing, and what it says."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import threading
import time
from typing import Any, Mapping

from trainer.launch.messages import lines, parse

GONE = "the session that started this run is gone"
UNHEARD = "nothing was heard of the session"

_SAY_WAIT_S = 10.0
_PIPE_BYTES = 4096  # what a pipe that is ready takes without blocking


class Lifeline:
    """What comes from the session: messages in a queue, and how long it has been silent."""

    def __init__(self, stream: Any) -> None:
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._heard_s = time.monotonic()
        self._closed = False
        threading.Thread(target=self._listen, args=(stream,), name="lifeline", daemon=True).start()

    def next(self, wait_s: float = 0.0) -> dict[str, Any] | None:
        """Return the next message, None where there is none yet."""
        try:
            return self._messages.get(timeout=wait_s) if wait_s else self._messages.get_nowait()
        except queue.Empty:
            return None

    def lost(self, silence_s: float) -> str:
        """Return why nobody is there any more, "" where somebody is."""
        if self._closed:
            return GONE
        silent_s = time.monotonic() - self._heard_s
        return f"{UNHEARD} for {silent_s:.0f} s" if silent_s > silence_s else ""

    def _listen(self, stream: Any) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone cannot be read
            for text in iter(stream.readline, b""):
                self._heard_s = time.monotonic()
                message = parse(text)
                if message:
                    self._messages.put(message)
        self._closed = True


class Voice:
    """What an agent says, on standard output; every line carries the order's token and the host's number."""

    def __init__(self, token: str, node: int, line_bytes: int) -> None:
        self._envelope = {"t": token, "node": node}
        self._line_bytes = line_bytes

    def say(self, message: Mapping[str, Any]) -> None:
        """Write a message; a session that does not read is not waited for."""
        data = "".join(lines(message, self._envelope, self._line_bytes)).encode("utf-8")
        handle = sys.stdout.fileno()
        deadline_s = time.monotonic() + _SAY_WAIT_S
        while data and time.monotonic() < deadline_s:
            _, ready, _ = select.select([], [handle], [], 0.5)
            try:
                data = data[os.write(handle, data[:_PIPE_BYTES]) :] if ready else data
            except OSError:
                return  # nobody is there, which the lifeline tells too
