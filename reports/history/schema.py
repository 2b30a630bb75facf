"""The revision of a history's schema: which it is, whether it can be read, and how it is brought up to date."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from reports.escapes import visible
from reports.history import sqlite_file
from reports.history.address import Address
from reports.history.errors import HistoryError
from reports.history.tables import METADATA, REVISIONS, VERSION_TABLE

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x61634873  # of PostgreSQL's advisory locks, which are numbers


def revision_of(connection: sa.Connection, address: Address) -> str | None:
    """The schema's revision; None where there is nothing yet.

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
        # Until the end of the transaction; whoever comes second finds it done.
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
    # Here: nobody needs alembic as long as the schema is the newest.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, revision)
