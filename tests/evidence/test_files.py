"""A file is replaced as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evidence.codec import dumps, parse_object
from evidence.files import write_whole


@pytest.mark.parametrize("before", [None, "an older and longer content\n"])
def test_the_content_is_what_was_written(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_text(before)

    write_whole(path, "1 ± 0.3 %\n")

    assert path.read_bytes() == "1 ± 0.3 %\n".encode()
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_put_in_place_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("old")

    def fail_to_replace(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail_to_replace)
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "file", "new")

    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "file", "new")


def test_two_writers_do_not_share_their_unfinished_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    monkeypatch.setattr(os, "replace", lambda source, target: names.append(source))

    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        write_whole(tmp_path / "file", "new")

    assert len(set(names)) == 2


def test_a_name_that_utf_8_cannot_encode_is_written_and_read_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"runs/\xff")

    write_whole(tmp_path / "one.json", dumps({"name": name, "loss": float("nan")}, indent=1))
    write_whole(tmp_path / "two.json", dumps({"name": "数据"}, indent=1))

    assert parse_object((tmp_path / "one.json").read_bytes()) == {"name": name, "loss": "NaN"}
    assert "数据" in (tmp_path / "two.json").read_text(encoding="utf-8")


def test_content_that_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "old")

    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "file", "\udcff")

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]
