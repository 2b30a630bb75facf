"""Schemas: older ones are brought up to date with all that is in them, and the newest is the one of the tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from reports.history import HistoryError, tables
from reports.history.database import open_history
from reports.history.tables import METADATA, REVISIONS
from tests.reports.history.entries import an_entry, connected, first_schema, rows_of


def test_the_revisions_are_those_of_the_migrations_in_their_order() -> None:
    scripts = ScriptDirectory(str(Path(tables.__file__).with_name("migrations")))

    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)


def test_migrations_come_to_the_tables_that_the_code_has(url: str) -> None:
    with open_history(url, create=True) as history:
        history.enter([an_entry(1)])

    with connected(url) as connection:
        inspector = sa.inspect(connection)
        for table in METADATA.sorted_tables:
            found = {column["name"]: column for column in inspector.get_columns(table.name)}
            assert set(found) == set(table.columns.keys()), table.name
            for column in table.columns:
                kind = column.type.compile(connection.dialect)
                have = found[column.name]["type"].compile(connection.dialect)
                assert have.replace("DOUBLE PRECISION", "FLOAT") == kind.replace("(53)", ""), column
                assert found[column.name]["nullable"] == column.nullable, column
            unique = {one["name"] for one in inspector.get_unique_constraints(table.name)}
            assert unique == {one.name for one in table.constraints if isinstance(one, sa.UniqueConstraint)}, table.name


def test_an_older_history_is_brought_up_to_date_when_a_run_is_entered(url: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    first_schema(url, runs=3)

    with open_history(url, create=True) as history:
        history.enter([an_entry(2, outcome="fail"), an_entry(9)])

    runs = {row["run_id"]: row for row in rows_of(url, "runs")}
    assert sorted(runs) == ["run-1", "run-2", "run-3", "run-9"]
    assert runs["run-1"]["restarts"] == 0
    assert runs["run-1"]["release_label"] == runs["run-1"]["gate"] == ""
    assert runs["run-2"]["outcome"] == "fail"
    assert sorted(row["measured"] for row in rows_of(url, "metrics")) == [100.0, 100.0, 101.0, 103.0]
    found = sorted((row["name"], row["version"]) for row in rows_of(url, "versions"))
    assert found == [("driver", "4.0.1"), ("driver", "4.0.3"), *[("torch", "1.12.1")] * 4]


def test_an_older_history_is_brought_up_to_date_when_it_is_read(url: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    first_schema(url, runs=2)

    assert len(rows_of(url, "versions")) == 4


def test_a_copy_of_the_older_file_is_kept(file_url: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    first_schema(file_url, runs=2)

    rows_of(file_url, "runs")

    copy = sqlite3.connect(str(tmp_path / "runs" / "history.sqlite.before-0003"))
    assert copy.execute("SELECT version_num FROM history_schema").fetchall() == [("0001",)]
    assert copy.execute("SELECT run_id FROM runs ORDER BY number").fetchall() == [("run-1",), ("run-2",)]
    copy.close()


def test_a_migration_that_fails_leaves_everything_as_it_was(url: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    first_schema(url, runs=2)
    with connected(url) as connection:
        connection.execute(sa.text("CREATE TABLE findings (of_somebody_else int)"))

    with pytest.raises(HistoryError, match="already exists"):
        rows_of(url, "runs")

    with connected(url) as connection:
        assert connection.execute(sa.text("SELECT version_num FROM history_schema")).scalar() == "0001"
        names = [column["name"] for column in sa.inspect(connection).get_columns("runs")]
    assert "versions" in names
    assert "release_label" not in names
