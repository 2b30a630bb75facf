"""Entering runs in a history, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from reports.history import HistoryError
from reports.history.database import open_history
from tests.labs.postgresql import Server
from tests.reports.history.entries import HOSTILE, an_entry, connected, first_schema, rows_of, sessions_at_once


def enter(url: str, *entries: Any) -> int:
    with open_history(url, create=True) as history:
        return history.enter(entries)


def test_every_row_of_a_run_comes_back(url: str) -> None:
    entry = an_entry(7)

    enter(url, entry)

    assert rows_of(url, "runs") == [dict(entry.run)]
    for table, rows in entry.rows.items():
        assert rows_of(url, table) == [dict(row) for row in rows], table


def test_text_of_any_characters_comes_back_as_it_was(url: str) -> None:
    entry = an_entry(7, words=HOSTILE, release_label=HOSTILE, command=HOSTILE, cell_id=HOSTILE)

    enter(url, entry)

    assert rows_of(url, "runs") == [dict(entry.run)]
    for table, rows in entry.rows.items():
        assert rows_of(url, table) == [dict(row) for row in rows], table


def test_a_run_that_is_entered_again_replaces_its_rows_and_keeps_its_number(url: str) -> None:
    enter(url, an_entry(1), an_entry(2))
    before = numbers(url)

    enter(url, an_entry(1, outcome="fail", values={"map": 0.3, "mem": 16.0}))

    assert numbers(url) == before
    assert sorted(row["outcome"] for row in rows_of(url, "runs")) == ["fail", "pass"]
    assert sorted(row["metric"] for row in rows_of(url, "metrics")) == ["map", "mem", "p_core"]


def numbers(url: str) -> dict[str, int]:
    with open_history(url) as history, history.reading() as connection:
        return {name: number for number, name in connection.execute(sa.text("SELECT number, run_id FROM runs"))}


def test_a_release_stays_where_none_is_given_and_changes_where_one_is(url: str) -> None:
    enter(url, an_entry(1, release_label="1.0"), an_entry(2, release_label="1.0"))

    enter(url, an_entry(1), an_entry(2, release_label="1.1"))

    assert sorted(row["release_label"] for row in rows_of(url, "runs")) == ["1.0", "1.1"]


def test_the_gates_outcome_stays_where_a_run_is_judged_again_without_a_gate(url: str) -> None:
    enter(url, an_entry(1, gate="FAIL"), an_entry(2, gate="FAIL"))

    enter(url, an_entry(1), an_entry(2, gate="PASS"))

    assert sorted(row["gate"] for row in rows_of(url, "runs")) == ["FAIL", "PASS"]


def test_of_a_run_that_is_given_twice_the_last_counts(url: str) -> None:
    assert enter(url, an_entry(1), an_entry(1, outcome="fail")) == 2

    assert [row["outcome"] for row in rows_of(url, "runs")] == ["fail"]


def test_a_run_that_cannot_be_entered_leaves_the_history_as_it_was(url: str) -> None:
    enter(url, an_entry(1))
    double = an_entry(1, outcome="fail")

    with pytest.raises(HistoryError, match="nothing was entered"):
        enter(url, type(double)(double.run, double.cards * 2, double.versions, double.metrics, ()))

    assert [row["outcome"] for row in rows_of(url, "runs")] == ["pass"]
    assert len(rows_of(url, "cards")) == 1


def test_sessions_at_once_in_an_empty_place_lose_nothing_and_enter_no_run_twice(url: str, tmp_path: Path) -> None:
    ranges = [(1, 10), (1, 10), (101, 10)]

    assert sessions_at_once(url, tmp_path, ranges) == []

    expected = sorted({f"run-{number}" for first, count in ranges for number in range(first, first + count)})
    assert sorted(row["run_id"] for row in rows_of(url, "runs")) == expected
    for table in ("cards", "versions", "metrics", "findings"):
        assert len(rows_of(url, table)) == len(expected), table


def test_sessions_that_find_an_older_schema_at_once_lose_nothing(url: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    first_schema(url, runs=3)

    assert sessions_at_once(url, tmp_path, [(101, 5), (201, 5), (301, 5)]) == []

    assert len(rows_of(url, "runs")) == 18
    copies = [path.name for path in (tmp_path / "runs").iterdir() if "before" in path.name]
    assert copies == (["history.sqlite.before-0003"] if url.startswith("sqlite") else [])


def test_more_runs_than_fit_into_one_transaction_are_all_entered(file_url: str) -> None:
    assert enter(file_url, *(an_entry(number) for number in range(1, 502))) == 501

    assert len(rows_of(file_url, "metrics")) == 501


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    with pytest.raises(HistoryError) as caught:
        enter("postgresql://somebody:hunter2@127.0.0.1:1/runs", an_entry(1))

    assert "postgresql+psycopg://somebody:***@127.0.0.1:1/runs: " in str(caught.value)
    assert "Check that the server runs" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.labs
def test_a_wrong_password_is_said_without_it(server: Server) -> None:
    with pytest.raises(HistoryError, match="password authentication failed") as caught:
        enter(server.url(password="hun/ter:2"), an_entry(1))

    assert "hun" not in str(caught.value).replace("host", "")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.labs
def test_a_history_is_reached_over_the_servers_socket_too(server: Server) -> None:
    server.create("over_socket")

    enter(server.socket_url("over_socket"), an_entry(1))

    assert server.psql("SELECT run_id FROM runs", "over_socket") == "run-1"


@pytest.mark.labs
def test_tables_of_another_application_in_the_same_database_are_left_alone(server: Server) -> None:
    url = server.create("shared")
    server.psql("CREATE TABLE runs (id int)", "shared")

    with pytest.raises(HistoryError, match=r"another application's tables \(runs\)"):
        enter(url, an_entry(1))

    assert server.psql("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'", "shared") == "1"


@pytest.mark.labs
def test_a_user_without_rights_is_told_so(server: Server) -> None:
    url = server.create("no_rights").replace("postgres:", "guest:")
    server.psql("CREATE ROLE guest LOGIN PASSWORD 's3cret/@:% word'")

    with pytest.raises(HistoryError, match="permission denied"):
        enter(url, an_entry(1))


@pytest.mark.labs
def test_an_empty_database_has_no_history_to_read(server: Server) -> None:
    url = server.create("empty")

    with pytest.raises(HistoryError, match="found no history"), open_history(url) as history, history.reading():
        pass

    assert server.psql("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'", "empty") == "0"


@pytest.mark.parametrize("revision", ["0004", ""])
def test_a_newer_schema_is_refused(url: str, revision: str) -> None:
    enter(url, an_entry(1))
    with connected(url) as connection:
        connection.execute(sa.text(f"UPDATE history_schema SET version_num = '{revision}'"))

    with pytest.raises(HistoryError, match="a newer version of this suite wrote it"):
        enter(url, an_entry(2))

    with connected(url) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM runs")).scalar() == 1


def test_a_driver_that_is_missing_is_named() -> None:
    with pytest.raises(HistoryError, match="found no Python package psycopg2; install the driver"):
        enter("postgresql+psycopg2://localhost/runs", an_entry(1))
