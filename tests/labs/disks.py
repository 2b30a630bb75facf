"""A disk of a few bytes on this machine, to be filled."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator


@functools.lru_cache(maxsize=None)
def requirements() -> str:
    """Return why there can be no disk of its own size here, "" where there can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs root on Linux: mounts a file system"
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=64k", "lab", "/mnt"]
    tried = subprocess.run(trial, capture_output=True, text=True)
    return f"nothing can be mounted here: {tried.stderr.strip()}" if tried.returncode else ""


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """An empty file system of `size_bytes`, rounded up to whole pages, at `folder`; gone at the end, even if in use.

    What does not fit is refused with ENOSPC, as on a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_bytes},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "lab-disk", str(folder)], check=True)
    try:
        yield folder
    finally:
        # Lazily: whoever still has a file open keeps it, and the folder is free all the same.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
