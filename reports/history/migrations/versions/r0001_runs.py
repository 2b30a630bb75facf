"""Runs, their cards and their metrics; the versions of a run are one JSON object."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the first schema."""
    op.create_table(
        "runs",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("identity", sa.String(64), nullable=False),
        *(_words(name) for name in ("run_id", "folder", "cell_id", "device", "topology", "precision")),
        sa.Column("batch_size", sa.BigInteger),
        sa.Column("learning_rate", sa.Float(53)),
        _words("protocol"),
        sa.Column("simulated", sa.Boolean, nullable=False),
        *(_words(name) for name in ("outcome", "reasons", "started_utc", "ended_utc", "command", "seal_sha256")),
        _words("versions"),
        sa.UniqueConstraint("identity", name="one_row_a_run"),
    )
    op.create_table(
        "cards",
        _of_a_run(),
        sa.Column("rank", sa.BigInteger, nullable=False),
        _words("host"),
        sa.Column("card", sa.BigInteger, nullable=False),
        *(_words(name) for name in ("name", "serial", "driver")),
        sa.UniqueConstraint("run", "rank", name="one_card_a_rank"),
    )
    op.create_table(
        "metrics",
        _of_a_run(),
        sa.Column("metric", sa.String(64), nullable=False),
        sa.Column("measured", sa.Float(53)),
        _words("unit"),
        *(sa.Column(name, sa.Float(53)) for name in ("interval_low", "interval_high", "expected", "low", "high")),
        *(_words(name) for name in ("better", "verdict", "reason")),
        sa.UniqueConstraint("run", "metric", name="one_row_a_metric"),
    )


def _words(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _of_a_run() -> sa.Column:
    return sa.Column("run", sa.Integer, sa.ForeignKey("runs.number"), nullable=False, index=True)
