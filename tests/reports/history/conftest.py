"""An empty place for a history: a file that is not there yet, or a database of a real PostgreSQL server."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Iterator

import pytest

from reports.history import default_url
from tests.labs import postgresql
from tests.labs.postgresql import Server

_COUNTER = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A real PostgreSQL server."""
    if postgresql.requirements():
        pytest.skip(postgresql.requirements())
    with postgresql.postgresql_server() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.labs)])
def url(request: Any, tmp_path: Path) -> str:
    """The URL of an empty place, of each kind of database."""
    if request.param == "sqlite":
        return default_url(tmp_path / "runs")
    running: Server = request.getfixturevalue("server")
    return running.create(f"history{next(_COUNTER)}")


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """The URL of a file that is not there yet."""
    return default_url(tmp_path / "runs")
