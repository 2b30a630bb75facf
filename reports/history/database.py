"""Opens a history, brings its schema up to date, and enters runs, each wholly or not at all."""

from __future__ import annotations

import contextlib
from typing import Any, Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reports.history import sqlite_file
from reports.history.address import Address, parse_url
from reports.history.entry import Entry
from reports.history.errors import HistoryError
from reports.history.schema import bring_up_to_date, revision_of
from reports.history.tables import OF_A_RUN, REVISIONS, RUNS
from reports.history.trouble import told_plainly

AT_ONCE = 200
"""Runs entered in one transaction."""

_TRIES = 5
_CONNECT_TIMEOUT_S = 10
_SENDS_AGAIN = ("40001", "40P01", "23505")  # SQLSTATE: serialization failure, deadlock, a row that came in between


class History:
    """A history that is there and can be read; made by open_history."""

    def __init__(self, address: Address, engine: sa.Engine) -> None:
        self.address = address
        self._engine = engine

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the history, in its newest schema. Raises HistoryError."""
        with told_plainly(self.address):
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
        with told_plainly(self.address), self._writing():
            pass

    def enter(self, entries: Iterable[Entry]) -> int:
        """Enter runs, in the place of what they were entered as before, and return how many; HistoryError if it fails.

        AT_ONCE of them are entered together; where that fails, those before them stay.
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
        with told_plainly(self.address):
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
        """A transaction in the newest schema, which it brings about first where that is needed."""
        with self._engine.execution_options(**{sqlite_file.WRITES: True}).begin() as connection:
            if self.address.path is not None:
                sqlite_file.require_whole(connection, self.address.path)
            bring_up_to_date(connection, self.address)
            yield connection


@contextlib.contextmanager
def open_history(url: str, *, create: bool = False) -> Iterator[History]:
    """The history at `url`, which is made on the first entry if `create`. Raises HistoryError."""
    address = parse_url(url)
    with told_plainly(address):
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
    """The run's number, its row inserted or updated; a release that it has stays where none is given."""
    # On a server, another session may insert the same run at any moment; SQLite has one writer at a time.
    if connection.dialect.name == "postgresql":
        insert = postgresql.insert(RUNS).values(**run)
        given = insert.excluded
        kept = sa.case((given.release_label == "", RUNS.c.release_label), else_=given.release_label)
        changes = {**{name: given[name] for name in run}, "release_label": kept}
        upsert = insert.on_conflict_do_update(index_elements=["identity"], set_=changes)
        return int(connection.execute(upsert.returning(RUNS.c.number)).scalar_one())
    identity = RUNS.c.identity == run["identity"]
    number = connection.execute(sa.select(RUNS.c.number).where(identity)).scalar()
    if number is None:
        connection.execute(sa.insert(RUNS).values(**run))
        return int(connection.execute(sa.select(RUNS.c.number).where(identity)).scalar_one())
    changes = {name: value for name, value in run.items() if name != "release_label" or value}
    connection.execute(sa.update(RUNS).where(identity).values(**changes))
    return int(number)
