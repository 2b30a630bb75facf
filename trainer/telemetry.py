"""A thread that reads the cards' memory now and then and appends what it read to telemetry.jsonl."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

Read = Callable[[], List[Dict[str, Any]]]


_LONGEST_INTERVAL_S = 10.0
_SAMPLES_AT_FULL_RATE = 600


class Watch:
    """Samples from `start` until `stop`, and once more at each, so that no run is too short to be seen.

    After ten minutes at one sample a second the interval grows with the run, up to ten seconds: a day's run of sixteen
    cards should not have a million lines, and a peak between two samples is the allocator's to tell.

    A reading that fails is written as a line with `error`, each message once: whoever judges the run must learn that
    the figure is incomplete, and the run must not die of it.
    """

    def __init__(self, path: Path, read: Read | None, *, interval_s: float, **labels: Any) -> None:
        self._path = path
        self._read = read
        self._interval_s = interval_s
        self._longest_s = max(interval_s, _LONGEST_INTERVAL_S)
        self._labels = labels
        self._done = threading.Event()
        self._errors: list[str] = []
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Begin sampling; does nothing when there is nothing to read."""
        if self._read is not None:
            self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end the thread."""
        if self._thread.is_alive():
            self._done.set()
            self._thread.join()

    def _run(self) -> None:
        begun_s = time.monotonic()
        while True:
            last = self._done.is_set()
            self._sample()
            if last:
                return
            elapsed_s = time.monotonic() - begun_s
            self._done.wait(min(max(elapsed_s / _SAMPLES_AT_FULL_RATE, self._interval_s), self._longest_s))

    def _sample(self) -> None:
        assert self._read is not None
        now_ns = time.perf_counter_ns()
        try:
            samples = self._read()
        except Exception as error:  # a vendor's tool can fail in any way; the training must not
            message = f"{type(error).__name__}: {error}"
            if message in self._errors:
                return
            self._errors.append(message)
            samples = [{"error": message}]
        lines = [json.dumps({"t_ns": now_ns, **self._labels, **sample}) + "\n" for sample in samples]
        # One write to a file opened for appending: the ranks of a host share it without mixing their lines.
        handle = os.open(str(self._path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, "".join(lines).encode("utf-8"))
        finally:
            os.close(handle)
