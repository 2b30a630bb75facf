"""Files that are damaged, another's, full or closed: reported, and left as they were."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from reports.history import HistoryError, default_url
from reports.history.database import open_history
from reports.history.sqlite_file import keep_copy
from tests.labs import disks
from tests.reports.history.entries import an_entry, rows_of
from tests.support import ROOT


def a_history(folder: Path, runs: int = 60) -> Path:
    with open_history(default_url(folder), create=True) as history:
        history.enter(an_entry(number, words="x" * 500) for number in range(1, runs + 1))
    return folder / "history.sqlite"


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(content)


def cut(path: Path, to: int) -> None:
    with path.open("r+b") as stream:
        stream.truncate(to)


def another_application(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(str(path))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE runs (id)")
    connection.commit()
    connection.close()


def a_page_of_a_table(path: Path) -> None:
    size = path.stat().st_size
    overwrite(path, size // 2 // 4096 * 4096, os.urandom(4096))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut off in the middle": (lambda path: cut(path, path.stat().st_size // 2), "is damaged"),
    "cut off after a page": (lambda path: cut(path, 4096), "is damaged"),
    "cut off in its head": (lambda path: cut(path, 50), "found no SQLite database"),
    "overwritten head": (lambda path: overwrite(path, 0, b"\xff" * 100), "found no SQLite database"),
    "zeros for a head": (lambda path: overwrite(path, 0, bytes(100)), "is damaged"),
    "a page of rubbish": (a_page_of_a_table, "is damaged"),
    "a text": (lambda path: path.write_text("not a database\n" * 100) and None, "found no SQLite database"),
    "another application's": (another_application, "another application's database"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_no_history_is_reported_and_left_alone_to_the_byte(damage: str, tmp_path: Path) -> None:
    path = a_history(tmp_path)
    spoil, words = DAMAGE[damage]
    spoil(path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()

    with pytest.raises(HistoryError, match=words) as caught:
        a_history(tmp_path)

    assert str(path) in str(caught.value)
    assert "nothing was changed" in str(caught.value)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [one.name for one in tmp_path.iterdir()] == ["history.sqlite"]


def test_reading_a_damaged_history_is_reported_too(tmp_path: Path) -> None:
    path = a_history(tmp_path)
    cut(path, path.stat().st_size // 2)

    with pytest.raises(HistoryError, match="is damaged"):
        rows_of(default_url(tmp_path), "metrics")


def test_an_empty_file_is_an_empty_place(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").touch()

    with pytest.raises(HistoryError, match="found no history"):
        rows_of(default_url(tmp_path), "runs")
    a_history(tmp_path, runs=1)

    assert len(rows_of(default_url(tmp_path), "runs")) == 1


def test_reading_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="--add RUN_DIR"):
        rows_of(default_url(tmp_path / "runs"), "runs")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(bool(disks.requirements()), reason=disks.requirements())
def test_a_full_disk_is_reported_and_nothing_is_half_written(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "disk", 400 * 1024) as disk:
        a_history(disk, runs=1)

        with pytest.raises(HistoryError, match="make room on the disk"):
            a_history(disk, runs=200)

        assert len(rows_of(default_url(disk), "runs")) == 1
        assert len(rows_of(default_url(disk), "metrics")) == 1
        assert not (disk / "history.sqlite-journal").exists()


@pytest.mark.skipif(bool(disks.requirements()), reason=disks.requirements())
def test_a_disk_without_room_for_a_first_run_is_reported(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "disk", 16 * 1024) as disk, pytest.raises(HistoryError, match="disk is full"):
        a_history(disk, runs=1)


_AS_ANOTHER = """
import sys
from pathlib import Path
from reports.history import HistoryError, default_url
from reports.history.database import open_history
from tests.reports.history.entries import an_entry, rows_of
folder = Path(sys.argv[1])
for act in (lambda: rows_of(default_url(folder), "runs"), lambda: enter()):
    def enter():
        with open_history(default_url(folder), create=True) as history:
            history.enter([an_entry(2)])
    try:
        act()
    except HistoryError as error:
        print("refused:", error)
    else:
        print("done")
"""


# Root without root's way past permissions: another user may not be able to read this checkout.
_WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv to be like another user"
)
def test_a_folder_that_cannot_be_written_to_can_be_read_and_says_so(tmp_path: Path) -> None:
    folder = Path("/var/tmp") / f"history-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        a_history(folder, runs=1)
        for path in (folder, folder / "history.sqlite"):
            os.chown(str(path), 65534, 65534)
        words = [*_WITHOUT_PRIVILEGE, sys.executable, "-c", _AS_ANOTHER, str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=str(ROOT))
        (folder / "history.sqlite").unlink()
        absent = subprocess.run(words, capture_output=True, text=True, check=True, cwd=str(ROOT))
    finally:
        shutil.rmtree(str(folder))

    read, written = done.stdout.splitlines()
    assert read == "done"
    assert written.startswith("refused: ")
    assert "it can only be read" in written
    assert "expected a folder that can be written to" in absent.stdout.splitlines()[1]


def test_a_folder_in_whose_place_a_file_is_cannot_hold_a_history(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")

    with pytest.raises(HistoryError, match="cannot be read or written"):
        a_history(tmp_path / "runs")


def test_copies_of_older_files_never_replace_each_other(tmp_path: Path) -> None:
    path = a_history(tmp_path, runs=1)

    names = [keep_copy(path, "0002").name for _ in range(3)]

    assert names == [f"history.sqlite.before-0002{suffix}" for suffix in ("", "-2", "-3")]
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(["history.sqlite", *names])
