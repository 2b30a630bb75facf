"""The history with 10,000 runs in it: entering one more, and the page of all of them as a command of its own."""

from __future__ import annotations

import datetime
import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest

from expected import load_devices
from reports.history import default_url
from reports.history.database import open_history
from reports.history.entry import Entry, read_entry
from tests.suite.stored import store
from tests.support import ROOT
from verdict.judge import judge_stored

RUNS, CELLS, RELEASES = 10_000, 5, 40
BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


def a_real_entry(folder: Path) -> Entry:
    """The rows of a stored run of eight ranks, made from its evidence."""
    run_dir = store(folder / "run", steps=200)
    run = judge_stored(run_dir, load_devices())
    return read_entry(run.evidence, run.verdict, run.environment)


def many(entry: Entry, count: int = RUNS) -> Iterator[Entry]:
    """That run as often as `count`, over CELLS cells and RELEASES releases, with scatter and a step in the middle."""
    noise = np.random.default_rng(0).normal(1, 0.01, size=(count, len(entry.metrics)))
    for number in range(count):
        step = 0.95 if number > count / 2 else 1.0
        release = RELEASES * number // count
        run = {
            **entry.run,
            "identity": hashlib.sha256(str(number).encode()).hexdigest(),
            "run_id": f"run-{number:05}",
            "cell_id": f"{entry.run['cell_id']}-{number % CELLS}",
            "release_label": f"1.{release}",
            "started_utc": (BEGIN + number * datetime.timedelta(hours=6)).isoformat(),
        }
        metrics = tuple(
            {**metric, "measured": metric["measured"] * factor * step}
            for metric, factor in zip(entry.metrics, noise[number])
        )
        versions = tuple(
            {**one, "version": f"4.{release}"} if one["name"] == "driver" else one for one in entry.versions
        )
        yield replace(entry, run=run, metrics=metrics, versions=versions)


@pytest.fixture(scope="module")
def history(tmp_path_factory: Any) -> Path:
    """The runs folder with the history in it."""
    folder = Path(str(tmp_path_factory.mktemp("history")))
    with open_history(default_url(folder / "runs"), create=True) as opened:
        opened.enter(many(a_real_entry(folder)))
    return folder / "runs"


def test_entering_one_more_run(benchmark: Any, history: Path, tmp_path: Path) -> None:
    """With the check of the whole file that comes before anything is written."""
    entry = a_real_entry(tmp_path)

    def enter() -> int:
        with open_history(default_url(history), create=True) as opened:
            return opened.enter([entry])

    assert benchmark.pedantic(enter, rounds=5) == 1


def test_the_trend_of_all_runs(benchmark: Any, history: Path, tmp_path: Path) -> None:
    """The whole process, from the start of Python to the page on disk."""
    page = tmp_path / "trend.html"
    command = [sys.executable, "-m", "reports", "trend", "--runs", str(history), "--out", str(page)]

    benchmark.pedantic(lambda: subprocess.run(command, check=True, cwd=str(ROOT)), rounds=5)

    assert page.stat().st_size > 100_000
