"""A history in an SQLite file: opens only our own, one writer at a time, and keeps a copy before the schema changes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from evidence.text import visible
from reports.history import HistoryError

APPLICATION_ID = 0x61634873
"""In the head of our SQLite files ("acHs"), which distinguishes a history from another application's database."""

WRITES = "history_writes"
"""The execution option of a connection that is going to write."""

BUSY_S = 60.0
"""How long a session waits for others that write; each needs some milliseconds."""

_MAGIC = b"SQLite format 3\0"
_HEAD_BYTES, _APPLICATION_ID_AT = 100, 68  # https://www.sqlite.org/fileformat.html, section 1.3
_AWAY = "nothing was changed; move it away, or name another file with --history, and enter the runs again with --add"


def engine(path: Path) -> sa.Engine:
    """Return an engine with explicit transactions; those that write take the lock before they read."""
    made = sa.create_engine(
        "sqlite://",
        # sqlite3's own transactions begin too late, and leave out CREATE TABLE.
        creator=lambda: sqlite3.connect(str(path), timeout=BUSY_S, isolation_level=None),
        poolclass=sa.NullPool,
    )

    @sa.event.listens_for(made, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return made


def require_ours(path: Path, *, create: bool) -> None:
    """Raise HistoryError unless the file is a history, or is not there and may be made; reads its head only.

    To be called before this process connects to it: closing a file gives up all locks that the process has on it.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except FileNotFoundError:
        if not create:
            raise nothing_there(visible(str(path))) from None
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    # All zeros is what is left of a creation that broke off; SQLite knows whether it can go on from there.
    if not any(head):
        return
    if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):
        raise HistoryError(f"{visible(str(path))}: found no SQLite database, expected a history; {_AWAY}")
    if int.from_bytes(head[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4], "big") != APPLICATION_ID:
        raise HistoryError(f"{visible(str(path))}: found another application's database, expected a history; {_AWAY}")


def nothing_there(place: str) -> HistoryError:
    """Return the error of reading a history that does not exist."""
    return HistoryError(
        f"{place}: found no history; runs are entered when they end, and older ones with "
        "python -m reports history --add RUN_DIR"
    )


def require_whole(connection: sa.Connection, path: Path) -> None:
    """Raise HistoryError if SQLite finds the file damaged."""
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise damaged(path, str(found))


def damaged(path: Path, what: str) -> HistoryError:
    """Return the error of a damaged file."""
    return HistoryError(
        f"{visible(str(path))}: the history is damaged ({visible(what)}); {_AWAY}. Where there is a copy "
        f"({visible(path.name)}.before-...), it is of the time before the schema changed"
    )


def sign(connection: sa.Connection) -> None:
    """Mark a new file as ours."""
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def keep_copy(path: Path, revision: str) -> Path:
    """Copy the file to `<name>.before-<revision>`, numbered if that exists, and return its path.

    The caller has the lock to write, and has changed nothing yet. SQLite itself copies: opening and closing the file in
    this process would give up the lock.
    """
    names = [f"{path.name}.before-{revision}{'' if number == 1 else f'-{number}'}" for number in range(1, 1000)]
    copy = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    partial = copy.with_name(f".{copy.name}.{os.getpid()}.partial")
    try:
        source, target = sqlite3.connect(str(path)), sqlite3.connect(str(partial))
        with contextlib.closing(source), contextlib.closing(target):
            source.backup(target)
        os.replace(str(partial), str(copy))
    except (OSError, sqlite3.Error):
        if partial.exists():
            partial.unlink()
        raise
    return copy
