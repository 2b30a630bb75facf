"""Lines of JSON out of damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence.codec import parse_object
from evidence.files import Problems, read_objects


def read(path: Path) -> tuple[list[tuple[int, dict]], tuple[str, ...]]:
    problems = Problems(path.name)
    return list(read_objects(path.read_bytes(), problems)), problems.all()


def test_objects_come_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b'{"a": 1}\n{"b": 2}\n')

    assert read(path) == ([(1, {"a": 1}), (2, {"b": 2})], ())


def test_an_empty_file_has_no_objects_and_no_problems(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")

    assert read(tmp_path / "f") == ([], ())


def test_a_whole_last_line_may_lack_its_newline(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'{"a": 1}')

    assert read(tmp_path / "f") == ([(1, {"a": 1})], ())


def test_a_last_line_that_is_cut_off_is_noted_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'{"a": 1}\n{"b": ')

    assert read(tmp_path / "f") == ([(1, {"a": 1})], ("f line 2: the last line is cut off",))


@pytest.mark.parametrize(
    "bad",
    [
        b"rubbish",
        b"",
        b"[1]",
        b"17",
        b"null",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
        b"\x00" * 20,
        b"[" * 100_000,
        b'{"a": 1} {"b": 2}',
    ],
)
def test_a_line_in_the_middle_that_is_no_object_is_a_problem(bad: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'{"a": 1}\n' + bad + b'\n{"b": 2}\n')

    records, problems = read(tmp_path / "f")

    assert records == [(1, {"a": 1}), (3, {"b": 2})]
    assert len(problems) == 1
    assert problems[0].startswith("f line 2: not a JSON object (")


def test_many_problems_are_counted_after_the_first_twenty(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x\n" * 1000)

    problems = read(tmp_path / "f")[1]

    assert len(problems) == 21
    assert problems[-1] == "f: and 980 more problems"


def test_an_object_is_parsed() -> None:
    assert parse_object('{"ä": [1.5]}'.encode()) == {"ä": [1.5]}
