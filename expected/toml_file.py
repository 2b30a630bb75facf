"""Reads what a TOML file says, unchecked; what cannot be read is an error that names file and line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from expected.errors import ExpectationError

if sys.version_info >= (3, 11):  # pragma: no cover - one of the two on each Python
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """The contents of a TOML file; ExpectationError with the line, where one is known."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ExpectationError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse_toml(data, path)


def parse_toml(data: bytes, path: Path) -> dict[str, Any]:
    """What `data`, the bytes of the file at `path`, says; raises ExpectationError."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ExpectationError(
            f"{path}: line {line}: found the byte 0x{data[error.start]:02x}, expected UTF-8; "
            "save the file in that encoding"
        ) from error
    try:
        return dict(tomllib.loads(text))
    except (ValueError, RecursionError) as error:  # besides syntax: endless digits, endless brackets
        raise ExpectationError(f"{path}: is not valid TOML: {error}") from error
