"""Releases, environment findings and what makes runs comparable; versions get a table, to be looked up by name."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_AT_ONCE = 500  # rows in memory


def upgrade() -> None:
    """Bring the first schema's tables, and what is in them, up to date."""
    for name in ("timing", "limits", "release_label", "circumstances"):
        op.add_column("runs", _words(name))
    op.add_column("runs", sa.Column("card", sa.BigInteger))
    op.add_column("runs", sa.Column("restarts", sa.BigInteger, nullable=False, server_default="0"))
    for name in ("method", "source"):
        op.add_column("metrics", _words(name))
    versions = op.create_table("versions", _of_a_run(), _words("name"), _words("version"))
    op.create_table(
        "findings",
        _of_a_run(),
        *(_words(name) for name in ("item", "host", "stated", "found", "verdict", "reason")),
    )
    _move_versions(op.get_bind(), versions)
    # A copy of the table without it where the database cannot drop a column (SQLite before 3.35).
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("versions")


def _move_versions(connection: sa.Connection, versions: sa.Table) -> None:
    runs = sa.table("runs", sa.column("number", sa.Integer), sa.column("versions", sa.Text))
    last = 0
    while True:
        chosen = sa.select(runs).where(runs.c.number > last).order_by(runs.c.number).limit(_AT_ONCE)
        found = connection.execute(chosen).all()
        if not found:
            return
        last = found[-1].number
        rows = [
            {"run": run.number, "name": name, "version": version}
            for run in found
            for name, version in (json.loads(run.versions) if run.versions else {}).items()
        ]
        if rows:
            connection.execute(sa.insert(versions), rows)


def _words(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _of_a_run() -> sa.Column:
    return sa.Column("run", sa.Integer, sa.ForeignKey("runs.number"), nullable=False, index=True)
