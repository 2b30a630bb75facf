"""Strict reading of TOML: every value is checked, every error names file and key."""

from __future__ import annotations

import difflib
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

from evidence.errors import SuiteError

if sys.version_info >= (3, 11):  # pragma: no cover - one of the two on each Python
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "table"}
_BARE = re.compile("[A-Za-z0-9_-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class ExpectationError(SuiteError):
    """A topology or an expectation file that cannot be used; the message names file and key."""


def read_file(path: Path) -> bytes:
    """Return the bytes of a file. Raises ExpectationError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExpectationError(f"{path}: cannot be read: {error.strerror or error}") from error


def parse_toml(data: bytes, path: Path) -> dict[str, Any]:
    """Parse `data`, the bytes of the file at `path`. Raises ExpectationError."""
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


@dataclass(frozen=True)
class Range:
    """An interval of allowed numbers; an open side excludes its end."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, number: float) -> bool:
        above = number > self.low if self.low_open else number >= self.low
        below = number < self.high if self.high_open else number <= self.high
        return above and below

    def __str__(self) -> str:
        above = f"{'>' if self.low_open else '>='} {self.low:g}"
        if self.high == math.inf:
            return above
        return f"{above} and {'<' if self.high_open else '<='} {self.high:g}"


POSITIVE = Range(0, low_open=True)


def describe(found: object) -> str:
    """Return `found` for an error message: its TOML type and, shortened, the value."""
    try:
        text = repr(found)
    except ValueError:  # Python prints no integer of more than 4300 digits
        text = "with too many digits to print"
    if isinstance(found, bool):
        text = text.lower()
    return f"the {_KINDS.get(type(found), 'date or time')} {text if len(text) <= 60 else text[:57] + '...'}"


class Table:
    """A TOML table with its known keys; an unknown key is refused before any value is read.

    All readers raise ExpectationError, with the file's name and the key's full path.

    >>> Table("x100.toml", "cell[1]", {"epochs": 0}, ("epochs",)).integer("epochs", Range(1))
    Traceback (most recent call last):
    expected.toml_file.ExpectationError: x100.toml: cell[1].epochs: found the integer 0, expected a whole number >= 1
    """

    def __init__(self, file: str, where: str, found: object, known: Sequence[str]) -> None:
        self._file = file
        self._where = where
        if not isinstance(found, dict):
            raise self.fault("", f"found {describe(found)}, expected a table with the keys {', '.join(known)}")
        self._values: dict[str, Any] = found
        for key in found:
            if key not in known:
                # In quotes where TOML needs them: an empty key or one with a line break must stay visible.
                raise self.fault(key if _BARE.fullmatch(key) else repr(key), _unknown(key, known))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def given(self) -> tuple[str, ...]:
        """Return the keys that are present, in the file's order."""
        return tuple(self._values)

    def fault(self, key: str, problem: str) -> ExpectationError:
        """Return the error for `key` ("" for the table itself), to be raised by the caller."""
        return ExpectationError(f"{self._file}: {self.path(key)}: {problem}")

    def path(self, key: str) -> str:
        """The full name of `key`: "cell[1].map"."""
        return ".".join(part for part in (self._where, key) if part)

    def value(self, key: str, expected: str = "a value") -> Any:
        """Return the value of `key`, which must be present."""
        if key not in self._values:
            raise self.fault(key, f"missing; expected {expected}")
        return self._values[key]

    def table(self, key: str, known: Sequence[str]) -> Table:
        """Return the table under `key`."""
        found = self.value(key, f"a table with the keys {', '.join(known)}")
        return self.inner(key, found, known)

    def inner(self, key: str, found: object, known: Sequence[str]) -> Table:
        """Return `found` as the table named `key` in this one."""
        return Table(self._file, self.path(key), found, known)

    def blocks(self, key: str, known: Sequence[str]) -> list[Table]:
        """Return the tables under `key`, of which there may be none: each [[key]] is "key[1]", ... in errors."""
        found = self.value(key) if key in self else []
        if not isinstance(found, list):
            raise self.fault(key, f"found {describe(found)}, expected [[{key}]], with two brackets, for each")
        return [self.inner(f"{key}[{number}]", block, known) for number, block in enumerate(found, start=1)]

    def free_table(self, key: str) -> Table:
        """Return the table under `key`, whose keys are free: at least one, in lower case."""
        found = self.value(key, "a table of texts")
        table = self.inner(key, found, tuple(found) if isinstance(found, dict) else ("the document's own",))
        if not found:
            raise table.fault("", "found no key, expected at least one text from the vendor's document")
        for name in found:
            if not re.fullmatch("[a-z][a-z0-9_]*", name):
                raise table.fault(name, "expected a key of small letters, digits and underscores")
        return table

    def text(self, key: str) -> str:
        """Return a text that is not blank, with each run of white space as one space."""
        found = self.value(key, "a string")
        if not isinstance(found, str):
            raise self.fault(key, f"found {describe(found)}, expected a string")
        text = " ".join(found.split())
        if not text:
            raise self.fault(key, "found a blank string, expected a text; leave the key out if it is optional")
        if _CONTROL.search(text):
            raise self.fault(key, f"found {describe(found)} with control characters, which reports cannot carry")
        return text

    def choice(self, key: str, allowed: Sequence[str]) -> str:
        """Return a text that is one of `allowed`."""
        names = ", ".join(allowed)
        found = self.value(key, f"one of {names}")
        if not isinstance(found, str) or found not in allowed:
            raise self.fault(key, f"found {describe(found)}, expected one of {names}")
        return found

    def flag(self, key: str) -> bool:
        """Return a boolean; 0, 1 and strings are refused."""
        found = self.value(key, "true or false")
        if not isinstance(found, bool):
            raise self.fault(key, f"found {describe(found)}, expected true or false")
        return found

    def integer(self, key: str, allowed: Range) -> int:
        """Return a whole number within `allowed`, written without a decimal point."""
        expected = f"a whole number {allowed}"
        found = self.value(key, expected)
        if isinstance(found, bool) or not isinstance(found, int) or found not in allowed:
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        return found

    def number(self, key: str, allowed: Range, unit: str = "") -> float:
        """Return a finite number within `allowed`."""
        expected = f"a number {allowed}" + (f" in {unit}" if unit else "")
        found = self.value(key, expected)
        number = _finite(found)
        if math.isnan(number) or number not in allowed:
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        return number

    def integers(self, key: str, allowed: Range) -> tuple[int, ...]:
        """Return strictly increasing whole numbers within `allowed`; may be empty."""
        expected = f"an array of whole numbers {allowed}, each above the one before it"
        found = self.value(key, expected)
        if not isinstance(found, list) or not all(type(n) is int and n in allowed for n in found):
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        if any(later <= earlier for earlier, later in zip(found, found[1:])):
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        return tuple(found)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of texts, none of them blank; may be empty."""
        items = self._items(key, "an array of strings")
        return tuple(items.text(name) for name in items.given())

    def numbers(self, key: str, allowed: Range, unit: str = "") -> tuple[float, ...]:
        """Return an array of finite numbers within `allowed`; may be empty."""
        items = self._items(key, "an array of numbers")
        return tuple(items.number(name, allowed, unit) for name in items.given())

    def _items(self, key: str, expected: str) -> Table:
        """Return the entries of an array, by their names in errors: "runs[1]"."""
        found = self.value(key, expected)
        if not isinstance(found, list):
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        named = {f"{key}[{number}]": item for number, item in enumerate(found, start=1)}
        return Table(self._file, self._where, named, tuple(named))


def _finite(found: object) -> float:
    """Return `found` as a float; NaN for a boolean and everything that is not a finite number."""
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return math.nan
    try:
        number = float(found)
    except OverflowError:  # an integer beyond the range of a float
        return math.nan
    return number if math.isfinite(number) else math.nan


def _unknown(key: str, known: Sequence[str]) -> str:
    by_small_letters = {name.lower(): name for name in known}
    nearest = difflib.get_close_matches(key.lower(), by_small_letters, n=1)
    hint = f"; did you mean {by_small_letters[nearest[0]]}?" if nearest else ""
    return f"unknown key{hint} (allowed here: {', '.join(known)})"
