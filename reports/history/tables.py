"""The tables of the history as of the newest revision of its schema, and how older ones are brought up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from evidence.text import as_it_was, visible
from reports.history import HistoryError, sqlite_file
from reports.history.address import Address

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x61634873  # of PostgreSQL's advisory locks, which are numbers

VERSION_TABLE = "history_schema"
"""Holds the revision, in alembic's form."""

REVISIONS = ("0001", "0002", "0003")
"""Of the schema, oldest first; each has a module in migrations/versions. The tables are as the last has them."""


class Words(TypeDecorator):
    """Text of any characters; those that some database cannot hold (U+0000, half characters) are kept as escapes."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored of a text."""
        return None if value is None else visible(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return the text as it was given."""
        return as_it_was(value) if value is not None and "\\" in value else value


METADATA = sa.MetaData()

Real = sa.Float(53)  # 64 bits everywhere


def _words(name: str) -> sa.Column:
    return sa.Column(name, Words, nullable=False, server_default="")


def _of_a_run() -> sa.Column:
    return sa.Column("run", sa.Integer, sa.ForeignKey("runs.number"), nullable=False, index=True)


RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),  # what a person names a run by
    sa.Column("identity", sa.String(64), nullable=False),  # of run id and seal: see entry.py
    _words("run_id"),
    _words("folder"),
    _words("cell_id"),
    _words("device"),
    _words("topology"),
    _words("precision"),
    sa.Column("batch_size", sa.BigInteger),
    sa.Column("learning_rate", Real),
    _words("timing"),
    sa.Column("card", sa.BigInteger),  # of --each-card; NULL if the run had the machine to itself
    _words("protocol"),
    _words("limits"),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("restarts", sa.BigInteger, nullable=False, server_default="0"),
    _words("outcome"),
    _words("reasons"),  # a JSON list of texts
    _words("started_utc"),
    _words("ended_utc"),
    _words("command"),  # a JSON list of words
    _words("seal_sha256"),
    _words("release_label"),
    _words("gate"),  # PASS, FAIL, INVALID or INCOMPLETE of the session with --gate; empty without
    _words("circumstances"),  # a JSON object of texts, by which runs are comparable
    sa.UniqueConstraint("identity", name="one_row_a_run"),
)

DEVICES = sa.Table(
    "cards",
    METADATA,
    _of_a_run(),
    sa.Column("rank", sa.BigInteger, nullable=False),
    _words("host"),
    sa.Column("card", sa.BigInteger, nullable=False),
    _words("name"),
    _words("serial"),
    _words("driver"),
    sa.UniqueConstraint("run", "rank", name="one_card_a_rank"),
)

VERSIONS = sa.Table(
    "versions",
    METADATA,
    _of_a_run(),
    _words("name"),
    _words("version"),
)

METRICS = sa.Table(
    "metrics",
    METADATA,
    _of_a_run(),
    sa.Column("metric", sa.String(64), nullable=False),
    sa.Column("measured", Real),
    _words("unit"),
    sa.Column("interval_low", Real),
    sa.Column("interval_high", Real),
    sa.Column("expected", Real),
    sa.Column("low", Real),
    sa.Column("high", Real),
    _words("better"),
    _words("method"),
    _words("source"),
    _words("verdict"),
    _words("reason"),
    sa.UniqueConstraint("run", "metric", name="one_row_a_metric"),
)

FINDINGS = sa.Table(
    "findings",
    METADATA,
    _of_a_run(),
    _words("item"),
    _words("host"),
    _words("stated"),
    _words("found"),
    _words("verdict"),
    _words("reason"),
)

OF_A_RUN = (DEVICES, VERSIONS, METRICS, FINDINGS)
"""The tables with rows that belong to a run."""


def revision_of(connection: sa.Connection, address: Address) -> str | None:
    """Return the schema's revision; None if there is nothing yet.

    Raises HistoryError for a newer one than this version knows, and for tables that are not ours.
    """
    names = set(sa.inspect(connection).get_table_names())
    if VERSION_TABLE not in names:
        taken = sorted(names & set(METADATA.tables)) or sorted(names if address.path is not None else ())
        if taken:
            raise HistoryError(
                f"{address}: found another application's tables ({visible(', '.join(taken[:5]))}), expected a history "
                "or nothing; nothing was changed; give the history a database of its own with --history"
            )
        return None
    versions = sa.table(VERSION_TABLE, sa.column("version_num", sa.Text))
    found = [str(row) for row in connection.execute(sa.select(versions.c.version_num)).scalars()]
    if len(found) == 1 and found[0] in REVISIONS:
        return found[0]
    raise HistoryError(
        f"{address}: found a history of revision {visible(', '.join(found)) or 'none'}, expected one of "
        f"{', '.join(REVISIONS)}: a newer version of this suite wrote it; nothing was changed. Use that version, or "
        "name another database with --history"
    )


def bring_up_to_date(connection: sa.Connection, address: Address) -> None:
    """Make the tables, or change older ones, within the connection's transaction, which has to be one that writes.

    Of an SQLite file that is changed, a copy is kept beside it. Raises HistoryError as revision_of does.
    """
    revision = revision_of(connection, address)
    if revision == REVISIONS[-1]:
        return
    if connection.dialect.name == "postgresql":
        # Until the end of the transaction; a second session finds it done.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        revision = revision_of(connection, address)
        if revision == REVISIONS[-1]:
            return
    if address.path is not None:
        if revision is None:
            sqlite_file.sign(connection)
        else:
            sqlite_file.keep_copy(address.path, REVISIONS[-1])
    upgrade(connection)


def upgrade(connection: sa.Connection, revision: str = REVISIONS[-1]) -> None:
    """Apply the revisions up to this one, within the connection's transaction."""
    # Here: alembic is only needed when the schema changes.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, revision)
