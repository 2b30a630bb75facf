"""A file is replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.codec import dumps, parse_object
from evidence.errors import EvidenceError
from evidence.files import DETECTIONS_FILE, KeptDetections, read_detections, write_detections, write_whole


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


CORNERS = st.tuples(*[st.floats(0, 2000, width=32)] * 4)


@given(st.lists(st.tuples(st.integers(0, 2**53), CORNERS, st.floats(0, 1, width=32), st.integers(1, 90)), max_size=20))
def test_detections_are_read_as_they_were_written_to_the_last_bit(found: list[Any]) -> None:
    boxes = np.array([corners for _, corners, _, _ in found], dtype=np.float32).astype(np.float64).reshape(-1, 4)
    rows = np.zeros((len(found), 7))
    rows[:, 0] = [image for image, _, _, _ in found]
    rows[:, 1:3], rows[:, 3:5] = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    rows[:, 5], rows[:, 6] = [score for _, _, score, _ in found], [label for _, _, _, label in found]

    with tempfile.TemporaryDirectory() as folder:
        write_detections(Path(folder), KeptDetections(rows, 7, "ab" * 32))
        again = read_detections(Path(folder))

    assert np.array_equal(again.rows, rows)
    assert (again.epoch, again.annotations_sha256) == (7, "ab" * 32)


def test_the_same_detections_make_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_detections(tmp_path / name, KeptDetections(np.ones((3, 7)), 0, "ab" * 32))

    assert (tmp_path / "one" / DETECTIONS_FILE).read_bytes() == (tmp_path / "two" / DETECTIONS_FILE).read_bytes()


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"PK no", lambda data: data[: len(data) // 2]])
def test_damaged_detections_are_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    write_detections(tmp_path, KeptDetections(np.ones((3, 7)), 0, "ab" * 32))
    path = tmp_path / DETECTIONS_FILE
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(EvidenceError, match=r"detections\.npz: found no detections"):
        read_detections(tmp_path)


def test_every_byte_that_is_changed_is_told_or_changes_a_number_but_never_crashes(tmp_path: Path) -> None:
    write_detections(tmp_path, KeptDetections(np.ones((3, 7)), 0, "ab" * 32))
    path = tmp_path / DETECTIONS_FILE
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with contextlib.suppress(EvidenceError):
            read_detections(tmp_path)


def test_detections_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"detections\.npz: cannot be read: No such file"):
        read_detections(tmp_path)
