"""The tables of the history, as the newest revision of its schema has them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from reports.escapes import as_it_was, visible

VERSION_TABLE = "history_schema"
"""Holds the revision, in alembic's form."""

REVISIONS = ("0001", "0002")
"""Of the schema, oldest first; each has a module in migrations/versions. The tables are as the last has them."""

APPLICATION_ID = 0x61634873
"""Stands in the head of our SQLite files ("acHs"): nobody else's database is taken for a history."""


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
    sa.Column("card", sa.BigInteger),  # of --each-card; NULL where the run had the machine to itself
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
    _words("circumstances"),  # a JSON object of texts: verdict/compare/likeness.py
    sa.UniqueConstraint("identity", name="one_row_a_run"),
)

CARDS = sa.Table(
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

OF_A_RUN = (CARDS, VERSIONS, METRICS, FINDINGS)
"""The tables with rows that belong to a run."""
