"""Says in plain words, and without a password, what went wrong with a history."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Iterator

import sqlalchemy as sa

from reports.escapes import visible
from reports.history import sqlite_file
from reports.history.address import Address
from reports.history.errors import HistoryError

_DAMAGED = ("malformed", "not a database", "database corruption")
_ADVICE = (
    ("locked", f"another session has been writing for {sqlite_file.BUSY_S:.0f} s; try again, or end it"),
    ("disk is full", "make room on the disk"),
    ("readonly", "it can only be read; name a file that can be written to with --history"),
    ("unable to open", "expected a folder that can be written to; name another file with --history"),
    ("disk I/O error", "look after the disk"),
)
"""What to do by words of SQLite's messages."""


@contextlib.contextmanager
def told_plainly(address: Address) -> Iterator[None]:
    """Turn the errors of databases and files into HistoryError.

    Without their cause: a traceback would show what was sent, and to whom.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _explained(address, error.orig or error) from None
    except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise _explained(address, error) from None


def _explained(address: Address, error: BaseException) -> HistoryError:
    if isinstance(error, OSError) and address.path is not None:
        return HistoryError(
            f"{address}: cannot be read or written ({error.strerror or error}); name a file that can with --history"
        )
    said = visible(" ".join(address.without_secrets(str(error)).split()))
    if address.path is None:
        return HistoryError(
            f"{address}: {said}; nothing was entered. Check that the server runs, and host, port, database, user, "
            "password and rights"
        )
    if any(word in said for word in _DAMAGED):
        return sqlite_file.damaged(address.path, said)
    advice = next((what for words, what in _ADVICE if words in said), "name another database with --history")
    return HistoryError(f"{address}: {said}; nothing was entered; {advice}")
