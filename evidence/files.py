"""The files of a run's folder: their names, the version of their format, and how they are written and hashed."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

SCHEMA = 3
"""Of run.json, events and verdict.json, as they are written."""
OLDEST_SCHEMA = 2
"""That is read too."""
CLOCKS_SCHEMA = 3
"""The first whose ranks read the agent's clock and test their own in training."""

RUN_FILE = "run.json"
VERDICT_FILE = "verdict.json"
SEAL_FILE = "SHA256SUMS"
SCENARIO_FILE = "scenario.toml"
LAUNCHER_LOG = "launcher.log"

RANK_FILE = re.compile(r"rank-([0-9]{4,9})\.jsonl")
TELEMETRY_FILE = re.compile(r"telemetry(?:-[0-9]{4,9})?\.jsonl")

_CHUNK_BYTES = 1 << 20


def rank_file(rank: int) -> str:
    """Return the name of a rank's event log."""
    return f"rank-{rank:04d}.jsonl"


def telemetry_file(node: int) -> str:
    """Return the name of a host's samples: appending to one file is safe on a host, not on a file system of several."""
    return "telemetry.jsonl" if node == 0 else f"telemetry-{node:04d}.jsonl"


def other_schema(found: int) -> str:
    """Return the complaint about a schema that is not read; "" for one that is."""
    if OLDEST_SCHEMA <= found <= SCHEMA:
        return ""
    return f"schema {found}, expected {OLDEST_SCHEMA if found < OLDEST_SCHEMA else SCHEMA}"


def write_whole(path: Path, content: str) -> None:
    """Replace `path` by `content` in UTF-8, atomically and flushed to disk; after an error the old file is still there.

    A reader finds the old content or the new one.
    """
    # The process id: several writers of the same file must not write into one another's.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(str(partial), str(path))
    except BaseException:
        if partial.exists():
            partial.unlink()
        raise


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()
