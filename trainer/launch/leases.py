"""Leases of a host's devices by file lock, so that no two runs share a device, whichever user started them.

A lease is a lock (flock) on the device's file in a folder that all users of the host share. The kernel frees it when
its holder ends, however it ends: nothing can go stale, and no file is ever deleted. A holder that is stopped keeps its
devices. The folder must be on the host's own disk: on a shared file system, devices of two hosts would be taken for
one. Two containers with a /tmp each do not see each other's leases; they need a folder that both have. A device must go
by one name: its index and its UUID are two.

filelock, which is installed already, empties the file at every try to lock it, and with it the holder's facts, and
takes a mere file for a lock where the file system has no locks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import random
import socket
import stat
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterator, Mapping, Sequence
from urllib.parse import quote

from trainer.devices import backend_names, load_backend
from trainer.errors import LeaseError

FOLDER_VARIABLE = "ACCELERATOR_CONFORMANCE_LEASES"

_ELSEWHERE = "choose a folder on this host's own disk with --leases"
_CHOOSING_S = 2.0  # choosing takes a millisecond; a process that was stopped meanwhile is not waited for
_FACTS_BYTES = 65_536
_TRIES = 100


def default_folder() -> Path:
    """Return the folder that all sessions of a host share by default."""
    return Path(os.environ.get(FOLDER_VARIABLE) or "/tmp/accelerator-conformance-leases")  # noqa: S108 - see prepare


class Leases:
    """The devices of one kind that this process holds in `folder` (None: the default), and no other process meanwhile.

    `holder` are facts for the message to those who are refused, beside the process, its user and the time, such as
    `run`, the run's folder. Every user of the host can read them, so nothing secret belongs there.

    Programs that this process starts do not keep the locks (O_CLOEXEC). Not for several threads.

        with Leases(None, "cuda", {"run": str(run_dir)}) as leases:
            devices = leases.take(None, ["0", "1", "2", "3"], count=2, wait_s=10.0)
    """

    def __init__(self, folder: Path | None, backend: str, holder: Mapping[str, str]) -> None:
        self._folder = default_folder() if folder is None else folder
        self._backend = backend
        self._holder = {"pid": str(os.getpid()), "host": socket.gethostname(), "user": user_name(), **holder}
        self._locked: list[int] = []

    def take(
        self, wanted: Sequence[str] | None, available: Sequence[str], count: int, wait_s: float = 0.0
    ) -> list[str]:
        """Take exactly `wanted`, or if that is None the first `count` of `available` that are free; all or nothing.

        Returns the names. While it waits, up to `wait_s`, it holds none. Raises LeaseError if they are not to be had,
        with who holds them.
        """
        listed = map(str.strip, available if wanted is None else wanted)
        names = list({_quoted(name): name for name in listed}.values())
        needed = count if wanted is None else len(names)
        if needed > len(names):
            raise LeaseError(
                f"{needed} devices of {self._backend} are needed and there are {len(names)} to choose from"
            )
        if needed < 1:
            return []
        prepare(self._folder)
        started_s = time.monotonic()
        while True:
            taken, refused = self._try(names, needed)
            if taken:
                return [name for name in names if name in taken]
            # Without facts the holder is choosing itself: of two such, each could refuse the other and then give up.
            choosing = any("pid" not in facts for facts in refused.values())
            if time.monotonic() - started_s >= max(wait_s, _CHOOSING_S if choosing else 0.0):
                raise LeaseError(self._refusal(needed, len(names), refused))
            time.sleep(random.uniform(0.01, 0.08))  # noqa: S311 - not the same for both

    def release(self) -> None:
        """Give all devices back; does nothing if none is held."""
        for file in self._locked:
            with contextlib.suppress(OSError):
                if stat.S_ISREG(os.fstat(file).st_mode):
                    os.ftruncate(file, 0)
                fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough if native code has forked
            os.close(file)
        self._locked.clear()

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _try(self, names: Sequence[str], needed: int) -> tuple[set[str], dict[str, dict[str, str]]]:
        """Return the names taken, and the holders' facts by the names of the others. Takes all needed or none."""
        taken: set[str] = set()
        refused: dict[str, dict[str, str]] = {}
        try:
            # In one order for all, so that of several that want the same one gets them.
            for name in sorted(names, key=_quoted) if needed == len(names) else names:
                path = self._folder / f"{_quoted(self._backend)}.{_quoted(name)}.lock"
                file = _lock(path)
                if file is None:
                    refused[name] = read_facts(path)
                    continue
                self._locked.append(file)
                taken.add(name)
                if len(taken) == needed:
                    self._sign()
                    return taken, refused
        except BaseException:
            self.release()
            raise
        self.release()
        return set(), refused

    def _sign(self) -> None:
        since = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        facts = (json.dumps({"since": since, **self._holder}) + "\n").encode("ascii")
        for file in self._locked:
            with contextlib.suppress(OSError):  # the lock is what counts: the disk may be full
                os.pwrite(file, facts, 0)
        # systemd-tmpfiles leaves a locked folder alone, however old its files are.
        with contextlib.suppress(OSError):
            folder = os.open(str(self._folder), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._locked.append(folder)
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _refusal(self, needed: int, listed: int, refused: Mapping[str, Mapping[str, str]]) -> str:
        variable = load_backend(self._backend).visible_devices if self._backend in backend_names() else None
        lack = f"{needed} of {listed} devices are needed: " if listed > 1 else ""
        held = "; ".join(f"device {_plain(name)} of {self._backend} is {_in_use(by)}" for name, by in refused.items())
        return f"{lack}{held}; wait for it, or choose other devices{f' with {variable}' if variable else ''}"


def prepare(folder: Path) -> None:
    """Make the folder if it is missing, writable for all, its files removable by their owners alone (sticky bit).

    Raises LeaseError if it cannot be made, or if another user could replace the files in it.
    """
    try:
        if not os.path.lexists(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _open_to_all(), contextlib.suppress(FileExistsError):
                os.mkdir(str(folder), 0o1777)
        found = os.lstat(folder)
    except OSError as error:
        raise LeaseError(f"{folder} cannot be made: {error.strerror}; {_ELSEWHERE}") from None
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no folder"
        raise LeaseError(f"{folder} is {kind}, expected a folder for leases of devices; remove it, or {_ELSEWHERE}")
    foreign = found.st_uid not in (0, os.geteuid())
    if (foreign or found.st_mode & stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        raise LeaseError(
            f"{folder} belongs to {user_name(found.st_uid)} with mode {stat.S_IMODE(found.st_mode):o}, in which others "
            f"could exchange leases, expected mode 1777; have its owner set that, or {_ELSEWHERE}"
        )


@contextlib.contextmanager
def _open_to_all() -> Iterator[None]:
    """Suspend the umask, so that folder and files have their modes from the moment they appear."""
    umask = os.umask(0)
    try:
        yield
    finally:
        os.umask(umask)


def _lock(path: Path) -> int | None:
    """Return the locked file, emptied, or None if another process holds it. Raises LeaseError if it cannot be locked.

    The folder is writable for all: links, and files that are no plain ones or have a second name, are refused.
    """
    for _ in range(_TRIES):
        file = -1
        try:
            file = _open(path)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), os.lstat(path)):  # else it was replaced, and others lock the new one
                os.ftruncate(file, 0)
                locked, file = file, -1
                return locked
        except (FileExistsError, FileNotFoundError):
            continue  # made, or its folder made anew, between two looks
        except BlockingIOError:
            return None
        except OSError as error:
            why = "it is a link" if error.errno == errno.ELOOP else error.strerror
            raise LeaseError(f"{path} cannot be locked: {why}; have its owner remove it, or {_ELSEWHERE}") from None
        finally:
            if file >= 0:
                os.close(file)
    raise LeaseError(f"{path} keeps disappearing: something removes files there; {_ELSEWHERE}")


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Without O_CREAT: with it, a hardened kernel (fs.protected_regular) refuses other users' files, to root too.
        file = os.open(str(path), flags)
    except FileNotFoundError:
        with _open_to_all():
            return os.open(str(path), flags | os.O_CREAT | os.O_EXCL, 0o666)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # the holder's facts would be written into another file
        os.close(file)
        raise OSError(errno.EINVAL, "it is not a plain file, or has a second name")
    return file


def read_facts(path: Path) -> dict[str, str]:
    """Return what a holder has written, made printable; {} if it cannot be read or understood."""
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
    return {key: _plain(value) for key, value in record.items() if isinstance(value, str) and value.strip()}


def user_name(number: int | None = None) -> str:
    """Return the name of a user (None: this process's), or its number if it has no name."""
    number = os.geteuid() if number is None else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _plain(text: str) -> str:
    """Return printable text: any user can write anything there, control sequences of terminals included."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:200]


def _quoted(name: str) -> str:
    """Return the part of a file name for a device's name: one for each, and the same for 3 and 03."""
    if name.isascii() and name.isdigit():
        name = name.lstrip("0") or "0"
    return quote(name, safe="", errors="surrogatepass")


def _in_use(facts: Mapping[str, str]) -> str:
    if "pid" not in facts:
        return "in use by a process that has not yet written its name"
    words = [f"in use by pid {facts['pid']}"]
    words += [f"of {facts['user']}"] if "user" in facts else []
    words += [f"on {facts['host']}"] if facts.get("host", socket.gethostname()) != socket.gethostname() else []
    words += [f"since {facts['since']}"] if "since" in facts else []
    words += [f"({facts['run']})"] if "run" in facts else []
    return " ".join(words)
