"""Files to lock in a folder that all users of a host share: none is a trap, none outlives its holder's claim."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import stat
import tempfile
import time
from pathlib import Path
from typing import Mapping

from trainer.errors import LeaseError

_TRIES = 100
_FACTS_BYTES = 65_536
_ELSEWHERE = "choose a folder on this host's own disk with --leases"


class LockedFile:
    """A file or folder that this process has open and locked, until `release`; not so in a fork of it."""

    def __init__(self, file: int) -> None:
        self._file = file
        _LOCKED.add(self)

    def write(self, facts: Mapping[str, str]) -> None:
        """Replace what the file says. The lock is what counts: a full disk costs no more than the facts."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, (json.dumps(facts) + "\n").encode("ascii") if facts else b"", 0)

    def release(self) -> None:
        """Unlock and close it; does nothing the second time, and in a fork."""
        if self in _LOCKED:
            # Not by closing alone: a fork that native code made may have it open too.
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._close()
            _LOCKED.discard(self)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._file)
        self._file = -1


_LOCKED: set[LockedFile] = set()


def _close_in_child() -> None:
    """A loader's worker that outlives its run must not hold the run's card. Closing does not unlock the parent's."""
    for locked in _LOCKED:
        locked._close()
    _LOCKED.clear()


os.register_at_fork(after_in_child=_close_in_child)


def prepare(folder: Path) -> None:
    """Make the folder where it is missing, writable for all, files in it removable by their owners alone.

    Raises LeaseError where it cannot be made, or where somebody else could exchange the files in it.
    """
    try:
        if not os.path.lexists(folder):
            _make(folder)
        found = os.lstat(folder)
    except OSError as error:
        raise LeaseError(f"{folder} cannot be made: {error.strerror}; {_ELSEWHERE}") from None
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no folder"
        raise LeaseError(f"{folder} is {kind}, expected a folder for leases of cards; remove it, or {_ELSEWHERE}")
    foreign = found.st_uid not in (0, os.geteuid())
    if (foreign or found.st_mode & stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        raise LeaseError(
            f"{folder} belongs to {user_name(found.st_uid)} with mode {stat.S_IMODE(found.st_mode):o}, in which others "
            f"could exchange leases, expected mode 1777; have its owner set that, or {_ELSEWHERE}"
        )


def _make(folder: Path) -> None:
    """Under its name it appears as it has to be: between making and opening it, others would find it closed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = tempfile.mkdtemp(prefix=f".{folder.name}-", dir=str(folder.parent))
    os.chmod(draft, 0o1777)  # noqa: S103 - for all users of the host
    try:
        os.rename(draft, folder)
    except OSError:
        os.rmdir(draft)
        if not os.path.lexists(folder):  # otherwise somebody else was faster
            raise


def lock(path: Path) -> LockedFile | None:
    """Return the locked file, None where somebody else holds it. Raises LeaseError where it is no file to lock."""
    for tries_left in reversed(range(_TRIES)):
        try:
            file = _open(path)
        except (FileExistsError, FileNotFoundError):
            continue  # made, or its folder made anew, between two looks
        except OSError as error:
            if error.errno == errno.EACCES and tries_left:
                time.sleep(0.005)  # another user has just made it, and opens it to all next
                continue
            why = "it is a link" if error.errno == errno.ELOOP else error.strerror
            raise LeaseError(f"{path} cannot be opened: {why}; have its owner remove it, or {_ELSEWHERE}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return LockedFile(file)
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            os.close(file)
            raise LeaseError(f"{path} cannot be locked: {error.strerror}; {_ELSEWHERE}") from None
        os.close(file)
    raise LeaseError(f"{path} keeps disappearing: something removes files there; {_ELSEWHERE}")


def lock_folder(folder: Path) -> LockedFile | None:
    """Share a lock of the folder: systemd-tmpfiles then leaves it alone, however old its files are."""
    try:
        file = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return LockedFile(file)
    os.close(file)
    return None


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Without O_CREAT: with it, a hardened kernel (fs.protected_regular) refuses other users' files, to root too.
        file = os.open(str(path), flags)
    except FileNotFoundError:
        file = os.open(str(path), flags | os.O_CREAT | os.O_EXCL, 0o666)
    found = os.fstat(file)
    # The holder's facts will be written into it: not into whatever somebody has linked here.
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(file)
        raise OSError(errno.EINVAL, "it is no plain file, or has a second name")
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != 0o666:
        with contextlib.suppress(OSError):
            os.fchmod(file, 0o666)  # whatever the umask
    return file


def _is_at(file: int, path: Path) -> bool:
    """Whether the file still is the one of that name; else others lock another one."""
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except FileNotFoundError:
        return False


def read_facts(path: Path) -> dict[str, str]:
    """Return what the holder wrote, made fit for a line of text; {} where it cannot be read or understood."""
    try:
        file = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            record = json.loads(os.read(file, _FACTS_BYTES).decode("utf-8"))
        finally:
            os.close(file)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {key: plain(value) for key, value in record.items() if isinstance(value, str) and value.strip()}


def plain(text: str) -> str:
    """Return a text fit for a line: any user can write anything there, control sequences of terminals included."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:200]


def user_name(number: int | None = None) -> str:
    """Return the name of a user, this process's for None, or the number where it has none."""
    number = os.geteuid() if number is None else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
