"""Opens a history, brings its schema up to date, and enters runs, each wholly or not at all."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any, Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa

from evidence.text import visible
from reports.history import HistoryError, sqlite_file
from reports.history.address import Address, parse_url
from reports.history.entry import Entry
from reports.history.tables import OF_A_RUN, REVISIONS, RUNS, bring_up_to_date, revision_of

AT_ONCE = 200
"""Runs entered in one transaction."""

_KEPT = ("release_label", "gate")
"""What a run that is entered again without them keeps."""
_TRIES = 5
_CONNECT_TIMEOUT_S = 10
_SENDS_AGAIN = ("40001", "40P01", "23505")  # SQLSTATE: serialization failure, deadlock, a row that came in between
_DAMAGED = ("malformed", "not a database", "database corruption")
_ADVICE = (
    ("locked", f"another session has been writing for {sqlite_file.BUSY_S:.0f} s; try again, or end it"),
    ("disk is full", "make room on the disk"),
    ("readonly", "it can only be read; name a file that can be written to with --history"),
    ("unable to open", "expected a folder that can be written to; name another file with --history"),
    ("disk I/O error", "look after the disk"),
)
"""What to do by words of SQLite's messages."""


class History:
    """An open history; made by open_history."""

    def __init__(self, address: Address, engine: sa.Engine) -> None:
        self.address = address
        self._engine = engine

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one state of the history, in its newest schema. Raises HistoryError."""
        with plain_errors(self.address):
            with self._engine.begin() as connection:
                revision = revision_of(connection, self.address)
            if revision is None:
                raise sqlite_file.nothing_there(str(self.address))
            if revision != REVISIONS[-1]:
                with self._writing():
                    pass
            with self._engine.begin() as connection:
                yield connection

    def require_writable(self) -> None:
        """Raise HistoryError unless runs can be entered; the history is in its newest schema after this."""
        with plain_errors(self.address), self._writing():
            pass

    def enter(self, entries: Iterable[Entry]) -> int:
        """Enter runs, in the place of what they were entered as before, and return how many; HistoryError if it fails.

        AT_ONCE of them are one transaction; if one fails, those before it stay.
        """
        count = 0
        waiting: list[Entry] = []
        for entry in entries:
            waiting.append(entry)
            if len(waiting) == AT_ONCE:
                count += self._enter_together(waiting)
                waiting = []
        return count + self._enter_together(waiting)

    def _enter_together(self, entries: Sequence[Entry]) -> int:
        # In one order everywhere: two sessions that enter the same runs do not wait for each other in a circle. Of a
        # run that is given twice, the last one counts.
        by_identity = {entry.run["identity"]: entry for entry in entries}
        ordered = [by_identity[identity] for identity in sorted(by_identity)]
        with plain_errors(self.address):
            for tries_left in reversed(range(_TRIES)):
                try:
                    with self._writing() as connection:
                        _enter(connection, ordered)
                    return len(entries)
                except sa.exc.DBAPIError as error:
                    if not tries_left or getattr(error.orig, "sqlstate", None) not in _SENDS_AGAIN:
                        raise
        raise AssertionError("the last try returns or raises")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Yield a transaction in the newest schema, to which it brings an older one."""
        with self._engine.execution_options(**{sqlite_file.WRITES: True}).begin() as connection:
            if self.address.path is not None:
                sqlite_file.require_whole(connection, self.address.path)
            bring_up_to_date(connection, self.address)
            yield connection


@contextlib.contextmanager
def open_history(url: str, *, create: bool = False) -> Iterator[History]:
    """Open the history at `url`, which is made on the first entry if `create`. Raises HistoryError.

    >>> with open_history(default_url(Path("runs"))) as history, history.reading() as connection:  # doctest: +SKIP
    ...     queries.runs(connection, cell="r300-1x8-fp32-bs16")
    """
    address = parse_url(url)
    with plain_errors(address):
        if address.path is not None:
            sqlite_file.require_ours(address.path, create=create)
            engine = sqlite_file.engine(address.path)
        else:
            engine = _server_engine(address)
    try:
        yield History(address, engine)
    finally:
        engine.dispose()


def _server_engine(address: Address) -> sa.Engine:
    assert address.url is not None
    arguments: dict[str, Any] = {}
    if address.url.get_backend_name() == "postgresql" and "connect_timeout" not in address.url.query:
        arguments["connect_timeout"] = _CONNECT_TIMEOUT_S
    try:
        return sa.create_engine(address.url, poolclass=sa.NullPool, connect_args=arguments)
    except ImportError as error:
        advice = "pip install 'psycopg[binary]'" if error.name == "psycopg" else "install the driver that the URL names"
        raise HistoryError(f"{address}: found no Python package {error.name}; {advice}") from None


def _enter(connection: sa.Connection, entries: Sequence[Entry]) -> None:
    if not entries:
        return
    numbers = [_number(connection, entry.run) for entry in entries]
    for table in OF_A_RUN:
        connection.execute(sa.delete(table).where(table.c.run.in_(numbers)))
        rows = [
            {"run": number, **row} for number, entry in zip(numbers, entries) for row in entry.rows[str(table.name)]
        ]
        if rows:
            connection.execute(sa.insert(table), rows)


def _number(connection: sa.Connection, run: Mapping[str, Any]) -> int:
    """Insert or update the run's row and return its number; without a new release or gate it keeps what it has."""
    # Another session may insert the same run meanwhile, not in SQLite; _enter_together then tries again.
    identity = RUNS.c.identity == run["identity"]
    number = connection.execute(sa.select(RUNS.c.number).where(identity)).scalar()
    if number is None:
        connection.execute(sa.insert(RUNS).values(**run))
        return int(connection.execute(sa.select(RUNS.c.number).where(identity)).scalar_one())
    changes = {name: value for name, value in run.items() if name not in _KEPT or value}
    connection.execute(sa.update(RUNS).where(identity).values(**changes))
    return int(number)


@contextlib.contextmanager
def plain_errors(address: Address) -> Iterator[None]:
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
