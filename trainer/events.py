"""A rank's diary: one JSON object a line, appended and flushed, readable even when the last line is cut off."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

SCHEMA = 2


class EventLog:
    """Appends events to `rank-NNNN.jsonl`. Every event carries its name and the rank's monotonic time in ns."""

    def __init__(self, run_dir: Path, rank: int) -> None:
        self.path = run_dir / f"rank-{rank:04d}.jsonl"
        # O_EXCL: two processes that both believe to be this rank are an error, not a mixed file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.fdopen(os.open(str(self.path), flags, 0o644), "w", encoding="utf-8")

    def write(self, event: str, t_ns: int | None = None, **facts: Any) -> None:
        """Append one event; numbers that JSON cannot hold are written as the strings NaN, Infinity and -Infinity."""
        line: dict[str, Any] = {"event": event, "t_ns": time.perf_counter_ns() if t_ns is None else t_ns}
        line.update(facts)
        try:
            text = json.dumps(line, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(_spell_out(line), allow_nan=False, separators=(",", ":"))
        self._file.write(text + "\n")
        self._file.flush()

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
