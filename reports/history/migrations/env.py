"""Run by alembic: applies revisions over the connection, and in the transaction, that the history has opened."""

from __future__ import annotations

from alembic import context

from reports.history.tables import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
