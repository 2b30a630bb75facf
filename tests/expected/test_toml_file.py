"""TOML files that can be read, and what is said of those that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from expected import ExpectationError
from expected.toml_file import parse_toml, read_toml


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    for text in ("a = 1\n", "\ufeffa = 1\r\n"):
        path.write_bytes(text.encode("utf-8"))

        assert read_toml(path) == {"a": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = 1\nb = '\xff'", r"site\.toml: line 2: found the byte 0xff, expected UTF-8"),
        (b"a = 1\nb = = 2", r"site\.toml: is not valid TOML: .*line 2"),
        (b"a = " + b"[" * 100_000, r"site\.toml: is not valid TOML"),
    ],
)
def test_what_is_not_toml_is_refused_by_file_and_line(data: bytes, message: str) -> None:
    with pytest.raises(ExpectationError, match=message):
        parse_toml(data, Path("site.toml"))


def test_what_cannot_be_read_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ExpectationError, match=f"^{tmp_path}: cannot be read: "):
        read_toml(tmp_path)
