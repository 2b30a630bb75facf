"""URLs of histories, and how they are shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.history import HistoryError, default_url
from reports.history.address import parse_url


@pytest.mark.parametrize(
    "name", ["runs", "a b", "100%", "%41", "what?x=1#y", "昆仑芯", "half\udc80", "q'uo\"te", "a\nb"]
)
def test_the_default_is_a_file_in_the_runs_folder_whatever_that_is_called(name: str, tmp_path: Path) -> None:
    assert parse_url(default_url(tmp_path / name)).path == tmp_path / name / "history.sqlite"


def test_a_file_may_be_named_from_where_one_is_or_from_the_root() -> None:
    assert parse_url("sqlite:///runs/history.sqlite").path == Path("runs/history.sqlite")
    assert parse_url("sqlite+pysqlite:////var/history.sqlite").path == Path("/var/history.sqlite")
    assert parse_url("runs/100%41 of them.sqlite").path == Path("runs/100%41 of them.sqlite")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///a?mode=ro", "sqlite://host/a"])
def test_an_sqlite_url_needs_a_file_and_nothing_else(url: str) -> None:
    with pytest.raises(HistoryError, match="expected sqlite:///history"):
        parse_url(url)


def test_a_home_that_is_not_there_is_refused() -> None:
    with pytest.raises(HistoryError, match=r"--history .*~no-such-user.*give the path in full"):
        parse_url("~no-such-user/h.sqlite")


def test_a_postgresql_url_uses_the_driver_that_the_project_installs() -> None:
    url = parse_url("postgresql://host/runs").url

    assert url is not None
    assert url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    "url", ["runs:/history.sqlite", "", "postgresql", "oracel://u:hunter2@h/d", "a b://u:hunter2@h/d"]
)
def test_what_is_no_url_is_refused_without_quoting_what_may_be_a_password(url: str) -> None:
    with pytest.raises(HistoryError, match="expected FOLDER/history") as caught:
        parse_url(url)

    assert "hunter2" not in str(caught.value)


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"))))
def test_a_password_is_never_shown(text: str) -> None:
    password = f"<{text}>"  # no part of any word of the messages

    address = parse_url(f"postgresql://user:{quote(password, safe='')}@host:1/name?password=hunter2&sslmode=require")

    assert str(address) == repr(address) == "postgresql+psycopg://user:***@host:1/name"
    assert (
        address.without_secrets(f"no [{password}], no [{quote(password)}], no [hunter2]")
        == "no [***], no [***], no [***]"
    )
