"""Arrays on disk, made once on a host by its local rank 0 and read by its other ranks and by later runs.

An entry is one file: the SHA-256 of what follows, and a NumPy archive. Its name is derived from all that decides its
content, the code that makes it included. It is written atomically, and nothing in it is unpickled.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import Callable, Mapping

import numpy as np

from trainer.errors import TrainerError

FOLDER_VARIABLE = "CONFORMANCE_CACHE"

_ENTRY, _PARTIAL = "entry-", ".partial-"
_UNUSED_S = 90 * 86400
_ABANDONED_S = 86400
_DIGEST_BYTES = 64  # in hexadecimal digits


class CacheError(TrainerError):
    """An entry cannot be used or written: what it holds has to be made again."""

    kind = "cache"


def entry(kind: str, of: str, *makers: str) -> Path:
    """Return the path of an entry: of its kind's folder, for what `of` says, made by modules of trainer/.

    The folder is in $CONFORMANCE_CACHE, else in the user's own cache. Raises CacheError for a user without a home.
    """
    chosen, users = os.environ.get(FOLDER_VARIABLE), os.environ.get("XDG_CACHE_HOME", "")
    if chosen:
        base = Path(chosen).absolute()
    else:
        try:
            # The XDG base directory specification: a path that is not absolute is to be ignored.
            base = (Path(users) if os.path.isabs(users) else Path.home() / ".cache") / "accelerator-conformance"
        except (RuntimeError, KeyError) as error:  # a container's user may have no home; KeyError before Python 3.10
            raise CacheError(f"this user has no home folder ({error}); set {FOLDER_VARIABLE} to a folder") from error
    return base / kind / (_ENTRY + hashlib.sha256(f"{of} {_code_digest(makers)}".encode()).hexdigest())


@functools.lru_cache(maxsize=None)  # the files may change during the run
def _code_digest(makers: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in ("cache", *makers):
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()


def read(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of an entry by name; None without one.

    Raises CacheError for one that is damaged, unreadable, or writable for other users.
    """
    try:
        _require_own(path.parent, stat.S_ISDIR)
        _require_own(path, stat.S_ISREG)
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheError(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(content[_DIGEST_BYTES:]).hexdigest().encode() != content[:_DIGEST_BYTES]:
        raise CacheError(f"{path}: is damaged: its SHA-256 is another one")
    with contextlib.suppress(OSError):
        os.utime(path)  # when it was last used
    return dict(np.load(io.BytesIO(content[_DIGEST_BYTES:]), allow_pickle=False))


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an entry whole or not at all, in place of any other under its name. Raises CacheError."""
    archive = io.BytesIO()
    np.savez(archive, **arrays)  # type: ignore[arg-type]  # its stubs take one name for a flag
    content, folder = archive.getvalue(), path.parent
    try:
        os.makedirs(folder.parent, mode=0o700, exist_ok=True)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _require_own(folder, stat.S_ISDIR)
        _tidy(folder)
        handle, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=folder)
        try:
            with open(handle, "wb") as file:
                file.write(hashlib.sha256(content).hexdigest().encode() + content)
            os.replace(partial, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
    except OSError as error:
        raise CacheError(
            f"{folder}: {error}; set {FOLDER_VARIABLE} to a folder that is writable and has room"
        ) from error


def _require_own(path: Path, is_kind: Callable[[int], bool]) -> None:
    """Raise CacheError if it is of another kind or writable for another user, OSError if it cannot be examined."""
    status = os.lstat(path)
    if not is_kind(status.st_mode):
        raise CacheError(f"{path}: is not a plain file or folder")
    if status.st_uid != os.geteuid():
        raise CacheError(f"{path}: belongs to user {status.st_uid}, expected {os.geteuid()}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheError(f"{path}: may be written to by others; take that right away: chmod go-w")


@functools.lru_cache(maxsize=None)  # once a process: a probe writes hundreds of entries
def _tidy(folder: Path) -> None:
    """Remove entries unused for long, and partial ones of processes that were killed."""
    for path in folder.iterdir():
        limit_s = _UNUSED_S if path.name.startswith(_ENTRY) else _ABANDONED_S
        with contextlib.suppress(OSError):
            if path.name.startswith((_ENTRY, _PARTIAL)) and time.time() - path.lstat().st_mtime > limit_s:
                path.unlink()
