"""Writes a file in one piece: a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str) -> None:
    """Put `content` in the place of whatever `path` holds, in UTF-8 and on disk; an OSError leaves that untouched."""
    # The process id: several writers of the same file must not write into one another's.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(str(partial), str(path))
    except OSError:
        if partial.exists():
            partial.unlink()
        raise
