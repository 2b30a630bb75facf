"""Runs for a history without their folders, histories of any revision, and sessions that write to one at once."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import sqlalchemy as sa

from reports.history.address import parse_url
from reports.history.database import open_history
from reports.history.entry import Entry
from reports.history.sqlite_file import WRITES, engine, sign
from reports.history.tables import upgrade
from tests.support import ROOT

CELL = "r300-1x8-fp32-bs16"
HOSTILE = (
    "<script>alert('x')</script> \"q\" `b` & \n\r\t\x00\x1b[31m \u2028\u202e \udc80\ud83d \\x00 \\u0041 "
    "昆仑芯 \U0001f600 %s :name ?"
)
"""What names, paths and reasons may hold."""


def an_entry(number: int, *, values: Mapping[str, float] | None = None, words: str = "", **changes: Any) -> Entry:
    """The rows of a run; another `number` is another run. `words` stands wherever evidence has text of its own."""
    run: dict[str, Any] = {
        "identity": f"{number:064x}",
        "run_id": f"run-{number}{words}",
        "folder": f"runs/run-{number}{words}",
        "cell_id": CELL,
        "device": "r300",
        "topology": "1x8",
        "precision": "fp32",
        "batch_size": 16,
        "learning_rate": 0.16,
        "timing": "host",
        "card": None,
        "protocol": "full",
        "limits": "26 epochs",
        "simulated": False,
        "restarts": 0,
        "outcome": "pass",
        "reasons": json.dumps([words], ensure_ascii=False),
        "started_utc": f"2026-01-{1 + number // 1440 % 28:02}T{number // 60 % 24:02}:{number % 60:02}:00+00:00",
        "ended_utc": "",
        "command": "[]",
        "seal_sha256": "",
        "release_label": "",
        "gate": "",
        "circumstances": "{}",
        **changes,
    }
    card = {"rank": 0, "host": f"host{words}", "card": 0, "name": f"R300{words}", "serial": words, "driver": "4.0.25"}
    texts = {"unit": "images/s", "better": "higher", "method": words, "source": words, "verdict": "pass"}
    measured = {"p_core": 100.0} if values is None else values
    numbers = {"interval_low": None, "interval_high": None, "expected": None, "low": 0.1, "high": None}
    metrics = [
        {"metric": name, "measured": value, **numbers, **texts, "reason": words} for name, value in measured.items()
    ]
    finding = {"item": "os", "host": words, "stated": words, "found": words, "verdict": "differs", "reason": words}
    return Entry(run, (card,), ({"name": "torch", "version": f"1.12.1{words}"},), tuple(metrics), (finding,))


def rows_of(url: str, table: str) -> list[dict[str, Any]]:
    """All rows of a table as they come back, without the run's number, in no order."""
    from reports.history.tables import METADATA

    with open_history(url) as history, history.reading() as connection:
        found = [row._asdict() for row in connection.execute(sa.select(METADATA.tables[table]))]
    return [{name: value for name, value in row.items() if name not in ("run", "number")} for row in found]


@contextlib.contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """A connection that writes to a database, whatever is in it."""
    address = parse_url(url)
    made = sa.create_engine(address.url) if address.url is not None else engine(Path(str(address.path)))
    with made.execution_options(**{WRITES: True}).begin() as connection:
        yield connection
    made.dispose()


def first_schema(url: str, runs: int = 3) -> None:
    """Make a history as the first version would have, with runs in it."""
    with connected(url) as connection:
        if connection.dialect.name == "sqlite":
            sign(connection)
        upgrade(connection, "0001")
        for number in range(1, runs + 1):
            words = {"identity": f"{number:064x}", "run_id": f"run-{number}", "cell_id": CELL, "outcome": "pass"}
            versions = json.dumps({"torch": "1.12.1", "driver": f"4.0.{number}"})
            run = {**words, "number": number, "simulated": False, "versions": versions}
            connection.execute(sa.text(_insert("runs", run)), run)
            metric = {"run": number, "metric": "p_core", "measured": 100.0 + number, "verdict": "pass"}
            connection.execute(sa.text(_insert("metrics", metric)), metric)
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT setval('runs_number_seq', {runs})"))


def _insert(table: str, row: Mapping[str, Any]) -> str:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"


_SESSION = """
import sys, time
from pathlib import Path
from reports.history.database import open_history
from tests.reports.history.entries import an_entry
url, go, first, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.01)
for number in range(first, first + count):
    with open_history(url, create=True) as history:
        history.enter([an_entry(number)])
"""


def sessions_at_once(url: str, folder: Path, ranges: Sequence[tuple[int, int]]) -> list[str]:
    """Enter runs from processes that begin at one moment, one for each (first run, count); returns what failed."""
    go = folder / "go"
    words = [sys.executable, "-c", _SESSION, url, str(go)]
    processes = [
        subprocess.Popen(
            [*words, str(first), str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=str(ROOT),
        )
        for first, count in ranges
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    go.touch()
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [text for process, text in zip(processes, said) if process.returncode]
