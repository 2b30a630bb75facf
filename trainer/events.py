"""A rank's diary: one JSON object a line, appended and flushed, readable even when the last line is cut off."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any, Callable

SCHEMA = 2
HEARTBEAT_S = 5.0


class EventLog:
    """Appends events to `rank-NNNN.jsonl`. Every event carries its name and the rank's monotonic time in ns."""

    def __init__(self, run_dir: Path, rank: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.now_ns: Callable[[], int] = time.perf_counter_ns
        self._clock = clock  # heartbeats are for the supervision, whose time is real
        self._written_s = clock()
        self.path = run_dir / f"rank-{rank:04d}.jsonl"
        # O_EXCL: two processes that both believe to be this rank are an error, not a mixed file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.fdopen(os.open(str(self.path), flags, 0o644), "w", encoding="utf-8")

    def write(self, event: str, t_ns: int | None = None, **facts: Any) -> None:
        """Append one event; numbers that JSON cannot hold are written as the strings NaN, Infinity and -Infinity."""
        line: dict[str, Any] = {"event": event, "t_ns": self.now_ns() if t_ns is None else t_ns}
        line.update(facts)
        try:
            text = json.dumps(line, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(_spell_out(line), allow_nan=False, separators=(",", ":"))
        self._file.write(text + "\n")
        self._file.flush()
        self._written_s = self._clock()

    def heartbeat(self, **facts: Any) -> None:
        """Write a `progress` event if there has been no event for HEARTBEAT_S: so that it is seen to go on."""
        if self._clock() - self._written_s >= HEARTBEAT_S:
            self.write("progress", **facts)

    def close(self) -> None:
        """Close the file; the log cannot be written afterwards."""
        self._file.close()


def _spell_out(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _spell_out(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spell_out(part) for part in value]
    return value
