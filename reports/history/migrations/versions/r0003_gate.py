"""The outcome of the gate under which a run was made or judged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of earlier runs it is not known."""
    op.add_column("runs", sa.Column("gate", sa.Text, nullable=False, server_default=""))
