"""What is read from the cache is what was written; what is not whole or not this user's alone is not used."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest

from tests.labs.disks import requirements, small_disk
from trainer import cache
from trainer.cache import CacheError, entry, read, write

REPOSITORY = Path(__file__).parents[2]
ARRAYS = {
    "numbers": np.arange(12.0, dtype=np.float32).reshape(3, 4),
    "none of them": np.zeros((0, 4), dtype=np.int64),
    "texts": np.array(["a", "\u00e4\U0001f600"]),
    "truth": np.array(True),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache; the folder of its entries."""
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "cache"))
    cache._tidy.cache_clear()
    yield tmp_path / "cache" / "kind"
    cache._code_digest.cache_clear()


def written(of: str = "something") -> Path:
    write(entry("kind", of), ARRAYS)
    return entry("kind", of)


def is_read(path: Path) -> bool:
    found = read(path)
    assert found is not None
    return all(
        one.dtype == found[name].dtype and np.array_equal(one, found[name]) and one.shape == found[name].shape
        for name, one in ARRAYS.items()
    )


def test_what_is_read_is_what_was_written() -> None:
    assert read(entry("kind", "something")) is None
    assert is_read(written())
    assert read(entry("kind", "something else")) is None


def test_code_that_has_changed_has_entries_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "maker.py").write_text("one")
    (tmp_path / "cache.py").write_text("")
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    first = entry("kind", "something", "maker")
    cache._code_digest.cache_clear()
    (tmp_path / "maker.py").write_text("two")

    assert entry("kind", "something", "maker") != first


def flip_a_bit(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a bit of an array": lambda path: flip_a_bit(path, 300),
    "a bit of the digest": lambda path: flip_a_bit(path, 3),
    "cut off in an array": lambda path: os.truncate(str(path), 300),
    "cut off in the digest": lambda path: os.truncate(str(path), 40),
    "empty": lambda path: os.truncate(str(path), 0),
    "something else": lambda path: path.write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_an_entry_that_is_not_whole_is_refused_and_replaced(folder: Path, damage: Callable[[Path], Any]) -> None:
    path = written()
    damage(path)

    with pytest.raises(CacheError, match=rf"{re.escape(str(path))}: is damaged: its SHA-256 is another one"):
        read(path)

    assert is_read(written())
    assert list(folder.iterdir()) == [path]


def test_another_users_entry_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    path = written()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    for use in (lambda: read(path), written):
        with pytest.raises(CacheError, match=f"belongs to user {os.getuid()}, expected {os.getuid() + 1}"):
            use()


@pytest.mark.parametrize("rights", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_used(folder: Path, rights: int) -> None:
    path = written()
    folder.chmod(rights)

    for use in (lambda: read(path), written):
        with pytest.raises(CacheError, match=r"may be written to by others; take that right away: chmod go-w"):
            use()


def test_a_link_under_the_name_of_an_entry_is_not_followed(folder: Path) -> None:
    path = written()
    path.rename(folder.parent / "moved")
    path.symlink_to(folder.parent / "moved")

    with pytest.raises(CacheError, match="is not a plain file"):
        read(path)

    assert is_read(written())
    assert not path.is_symlink()


@pytest.mark.parametrize("below", ["a file", "/proc"])
def test_where_nothing_can_be_written_it_is_said_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / below / "cache"))

    with pytest.raises(CacheError, match=rf"{re.escape(str(tmp_path / below))}.*set CONFORMANCE_CACHE to a folder"):
        written()


@pytest.mark.skipif(bool(requirements()), reason=requirements())
def test_on_a_full_disk_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", 16384) as disk:
        monkeypatch.setenv("CONFORMANCE_CACHE", str(disk))

        with pytest.raises(CacheError, match="No space left on device"):
            write(entry("kind", "something"), {"large": np.zeros(16384)})

        assert list((disk / "kind").iterdir()) == []


def test_the_cache_is_the_users_alone(folder: Path) -> None:
    path = written()

    assert [one.stat().st_mode & 0o777 for one in (folder.parent, folder, path)] == [0o700, 0o700, 0o600]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CONFORMANCE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a/kind"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/accelerator-conformance/kind"),
        ({"XDG_CACHE_HOME": "b", "HOME": "/c"}, "/c/.cache/accelerator-conformance/kind"),
        ({"CONFORMANCE_CACHE": "", "HOME": "/c"}, "/c/.cache/accelerator-conformance/kind"),
    ],
)
def test_where_the_cache_is(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFORMANCE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)

    assert str(entry("kind", "something").parent) == expected


@pytest.mark.parametrize(
    "raised",  # by pathlib, before Python 3.10 and since
    [KeyError("getpwuid(): uid not found: 12345"), RuntimeError("Could not determine home directory.")],
)
def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, raised: Exception) -> None:
    def fake_home() -> Path:
        raise raised

    monkeypatch.delenv("CONFORMANCE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", fake_home)

    with pytest.raises(CacheError, match=r"no home folder .*set CONFORMANCE_CACHE"):
        entry("kind", "something")


def test_entries_that_nobody_has_used_for_long_are_removed(folder: Path) -> None:
    unused, used = written("unused"), written("used")
    (folder / "notes.txt").write_text("somebody's own")
    for path in folder.iterdir():
        os.utime(str(path), (0, 0))
    read(used)
    cache._tidy.cache_clear()

    new = written("new")

    assert set(folder.iterdir()) == {folder / "notes.txt", used, new}
    assert not unused.exists()


def python(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


KILLED = """
import os, time
from trainer.cache import entry, write
def fake_replace(*_):
    print("written", flush=True)
    time.sleep(60)
os.replace = fake_replace
write(entry("kind", "something"), {})
"""


def test_what_a_killed_process_leaves_is_no_entry_and_is_removed_in_time(folder: Path) -> None:
    writer = python(KILLED)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    (left,) = folder.iterdir()

    path = written()

    assert left.exists()  # another may be at work in such a folder
    assert left != path
    os.utime(str(left), (0, 0))
    cache._tidy.cache_clear()
    written("else")
    assert not left.exists()


RACING = """
import sys
import numpy as np
from trainer.cache import entry, read, write
path = entry("kind", "something")
print("ready", flush=True)
sys.stdin.readline()
for _ in range(200):
    write(path, {"numbers": np.arange(1000)})
    assert read(path)["numbers"].sum() == 499500
"""


def test_processes_that_write_at_once_leave_one_sound_entry(folder: Path) -> None:
    racers = [python(RACING) for _ in range(3)]
    assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * 3
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()

    for racer in racers:
        racer.communicate(timeout=60)

    assert [racer.returncode for racer in racers] == [0] * 3
    assert list(folder.iterdir()) == [entry("kind", "something")]
