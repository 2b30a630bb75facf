"""Leases of a host's cards by file lock, so that no two runs share a card, whoever started them.

A lease is a lock (`flock`) on a file that is the card's, in a folder that all users of the host share. The kernel frees
it when its holder ends, however it ends: nothing can go stale, and no file is ever deleted. A holder that is stopped
keeps its cards. The folder has to be the host's own: on a shared file system, cards of two hosts would be taken for
one. Two containers with a /tmp each do not see each other's leases; they need a folder that both have. A card has to go
by one name: its index and its UUID are two.

Why not `filelock`, which is here already: it knows one lock at a time, empties the file at every try to lock it - and
with it what the holder wrote there - and takes a mere file for a lock where the file system has none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterator, Mapping, Sequence

from trainer.devices import backend_names, load_backend
from trainer.errors import LeaseError
from trainer.launch.lease_files import LockedFile, lock, lock_folder, plain, prepare, read_facts, user_name

FOLDER_VARIABLE = "ACCELERATOR_CONFORMANCE_LEASES"

_POLL_S = 0.05
_TURN_POLL_S = 0.005
_TURN_WAIT_S = 5.0  # choosing takes a millisecond
_LONGEST_NAME = 100


def default_folder() -> Path:
    """Return the folder that the sessions of a host share unless they are told of another."""
    return Path(os.environ.get(FOLDER_VARIABLE) or "/tmp/accelerator-conformance-leases")  # noqa: S108 - see prepare


class Leases:
    """The cards of one kind that this process holds in `folder` (None: the default), and nobody else meanwhile.

    `holder` is what the one who is refused will read, next to the process, its user and the time: `run`, the run's
    folder. It lies where every user of the host can read it, so nothing secret belongs in it.

    The locks are this process's alone. A program that it starts does not get them (O_CLOEXEC), nor does a fork that
    Python makes (they are closed in the child). A fork that native code makes keeps them locked, until it ends or this
    process releases them. Not for several threads at once.
    """

    def __init__(self, folder: Path | None, backend: str, holder: Mapping[str, str]) -> None:
        self._folder = default_folder() if folder is None else folder
        self._backend = backend
        self._holder = {"pid": str(os.getpid()), "host": socket.gethostname(), "user": user_name(), **holder}
        self._locked: list[LockedFile] = []

    def take(
        self, wanted: Sequence[str] | None, available: Sequence[str], count: int, wait_s: float = 0.0
    ) -> list[str]:
        """Take exactly `wanted`, or where that is None the first `count` of `available` that are free; all or nothing.

        Returns the names. While it waits, up to `wait_s`, it holds none. Raises LeaseError: not to be had, with who
        holds what is missing; and RuntimeError where this object holds cards already.
        """
        if self._locked:
            raise RuntimeError("these leases are taken; release them first")
        names = self._distinct(available if wanted is None else wanted, repeated=wanted is None)
        needed = count if wanted is None else len(names)
        if needed > len(names):
            raise LeaseError(f"{needed} cards of {self._backend} are needed and there are {len(names)} to choose from")
        if needed < 1:
            return []
        prepare(self._folder)
        until_s = time.monotonic() + wait_s
        while True:
            taken, refused = self._try(names, needed, until_s)
            if taken:
                return taken
            if time.monotonic() >= until_s:
                raise LeaseError(self._refusal(needed, len(names), refused))
            time.sleep(_POLL_S)

    def release(self) -> None:
        """Give all cards back; does nothing where none is held."""
        for locked in self._locked:
            locked.write({})
            locked.release()
        self._locked.clear()

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _try(self, names: Sequence[str], needed: int, until_s: float) -> tuple[list[str], list[str]]:
        """Return (names taken, why others were not). Unless all that are needed are free, none is taken."""
        taken: list[str] = []
        refused: list[str] = []
        try:
            with self._turn(until_s):
                for name in names:
                    path = self._path(name, "lock")
                    locked = lock(path)
                    if locked is None:
                        refused.append(f"card {plain(name)} of {self._backend} is {_in_use(read_facts(path))}")
                        continue
                    self._locked.append(locked)
                    taken.append(name)
                    if len(taken) == needed:
                        self._sign()
                        return taken, refused
        except BaseException:
            self.release()
            raise
        self.release()
        return [], refused

    def _sign(self) -> None:
        since = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        for locked in self._locked:
            locked.write({"since": since, **self._holder})
        folder = lock_folder(self._folder)
        self._locked += [folder] if folder else []

    @contextlib.contextmanager
    def _turn(self, until_s: float) -> Iterator[None]:
        """One at a time chooses cards, or two could refuse each other what both of them then leave."""
        path = self._path("", "turn")
        until_s = max(until_s, time.monotonic() + _TURN_WAIT_S)
        locked = lock(path)
        while locked is None:
            if time.monotonic() >= until_s:
                raise LeaseError(
                    f"{path} is locked, and nobody needs it for long: a process was stopped while it chose cards; "
                    f"`fuser -v {path}` names it"
                )
            time.sleep(_TURN_POLL_S)
            locked = lock(path)
        try:
            yield
        finally:
            locked.release()

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / ".".join(filter(None, (_quoted(self._backend), _quoted(name), kind)))

    def _distinct(self, names: Sequence[str], *, repeated: bool) -> list[str]:
        found: dict[str, str] = {}
        for name in (name.strip() for name in names):
            if not name:
                raise LeaseError(f"a card of {self._backend} has an empty name; name cards by index or UUID, as in 0,1")
            if _quoted(name) in found and not repeated:
                raise LeaseError(f"card {plain(name)} of {self._backend} is named twice; name each card once")
            found.setdefault(_quoted(name), name)
        return list(found.values())

    def _refusal(self, needed: int, listed: int, refused: Sequence[str]) -> str:
        variable = load_backend(self._backend).visible_cards if self._backend in backend_names() else None
        lack = f"{needed} of {listed} cards are needed: " if listed > 1 else ""
        others = f"other cards with {variable}" if variable else "other cards"
        return f"{lack}{'; '.join(refused)}; wait for it, or choose {others}"


def _quoted(name: str) -> str:
    """Return a file name's part that stands for this name and no other; the same for 3 and 03."""
    if name.isascii() and name.isdigit():
        name = name.lstrip("0") or "0"
    octets = name.encode("utf-8", "surrogatepass")
    text = re.sub(rb"[^A-Za-z0-9_-]", lambda sign: b"%%%02X" % ord(sign.group()), octets).decode("ascii")
    return text if len(text) <= _LONGEST_NAME else f"~{hashlib.sha256(octets).hexdigest()}"


def _in_use(facts: Mapping[str, str]) -> str:
    if "pid" not in facts:
        return "in use by a process that has not said who it is"
    words = [f"in use by pid {facts['pid']}"]
    words += [f"of {facts['user']}"] if "user" in facts else []
    words += [f"on {facts['host']}"] if facts.get("host", socket.gethostname()) != socket.gethostname() else []
    words += [f"since {facts['since']}"] if "since" in facts else []
    words += [f"({facts['run']})"] if "run" in facts else []
    return " ".join(words)
