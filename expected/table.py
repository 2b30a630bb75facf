"""Strict reading of one table of a TOML file: every value is checked, every error names file and key."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any, Sequence

from expected.errors import ExpectationError

_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "table"}
_BARE = re.compile("[A-Za-z0-9_-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Range:
    """The numbers that a key accepts; an open side excludes its end."""

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
    """`found` as an error message shows it: the kind of value TOML made of it and, shortened, the value."""
    try:
        text = repr(found)
    except ValueError:  # Python prints no integer of more than 4300 digits
        text = "with too many digits to print"
    if isinstance(found, bool):
        text = text.lower()
    return f"the {_KINDS.get(type(found), 'date or time')} {text if len(text) <= 60 else text[:57] + '...'}"


class Table:
    """A table with the keys it may have; refuses a key that nobody knows before any value is read."""

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
        """The keys that the file gives, in its order."""
        return tuple(self._values)

    def fault(self, key: str, problem: str) -> ExpectationError:
        """The error for `key` of this table ("" = the table itself), to be raised by the caller."""
        return ExpectationError(f"{self._file}: {self.path(key)}: {problem}")

    def path(self, key: str) -> str:
        """The full name of `key`: "cell[1].map"."""
        return ".".join(part for part in (self._where, key) if part)

    def value(self, key: str, expected: str = "a value") -> Any:
        """Whatever the file gives for `key`, which must be there."""
        if key not in self._values:
            raise self.fault(key, f"missing; expected {expected}")
        return self._values[key]

    def table(self, key: str, known: Sequence[str]) -> Table:
        """The table under `key`, itself to be read strictly."""
        found = self.value(key, f"a table with the keys {', '.join(known)}")
        return self.inner(key, found, known)

    def inner(self, key: str, found: object, known: Sequence[str]) -> Table:
        """`found` as a table that is named `key` in this one."""
        return Table(self._file, self.path(key), found, known)

    def free_table(self, key: str) -> Table:
        """The table under `key`, whose keys are the author's choice: at least one, in small letters."""
        found = self.value(key, "a table of texts")
        table = self.inner(key, found, tuple(found) if isinstance(found, dict) else ("the document's own",))
        if not found:
            raise table.fault("", "found no key, expected at least one text from the vendor's document")
        for name in found:
            if not re.fullmatch("[a-z][a-z0-9_]*", name):
                raise table.fault(name, "expected a key of small letters, digits and underscores")
        return table

    def text(self, key: str) -> str:
        """A text that is not blank, on one line: each run of spaces and line breaks becomes one space."""
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
        """A text that is one of `allowed`."""
        names = ", ".join(allowed)
        found = self.value(key, f"one of {names}")
        if not isinstance(found, str) or found not in allowed:
            raise self.fault(key, f"found {describe(found)}, expected one of {names}")
        return found

    def flag(self, key: str) -> bool:
        """A boolean, and nothing that merely looks like one."""
        found = self.value(key, "true or false")
        if not isinstance(found, bool):
            raise self.fault(key, f"found {describe(found)}, expected true or false")
        return found

    def integer(self, key: str, allowed: Range) -> int:
        """A whole number within `allowed`, written without a decimal point."""
        expected = f"a whole number {allowed}"
        found = self.value(key, expected)
        if isinstance(found, bool) or not isinstance(found, int) or found not in allowed:
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        return found

    def number(self, key: str, allowed: Range, unit: str = "") -> float:
        """A finite number within `allowed`."""
        expected = f"a number {allowed}" + (f" in {unit}" if unit else "")
        found = self.value(key, expected)
        number = _finite(found)
        if math.isnan(number) or number not in allowed:
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        return number

    def integers(self, key: str, allowed: Range) -> tuple[int, ...]:
        """Whole numbers within `allowed`, each above the one before it; may be empty."""
        expected = f"an array of whole numbers {allowed}, each above the one before it"
        found = self.value(key, expected)
        if not isinstance(found, list) or not all(type(n) is int and n in allowed for n in found):
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        if any(later <= earlier for earlier, later in zip(found, found[1:])):
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        return tuple(found)

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of texts, none of them blank; may be empty."""
        items = self._items(key, "an array of strings")
        return tuple(items.text(name) for name in items.given())

    def numbers(self, key: str, allowed: Range, unit: str = "") -> tuple[float, ...]:
        """An array of finite numbers within `allowed`; may be empty."""
        items = self._items(key, "an array of numbers")
        return tuple(items.number(name, allowed, unit) for name in items.given())

    def _items(self, key: str, expected: str) -> Table:
        """The entries of an array under the names by which errors call them: "runs[1]"."""
        found = self.value(key, expected)
        if not isinstance(found, list):
            raise self.fault(key, f"found {describe(found)}, expected {expected}")
        named = {f"{key}[{number}]": item for number, item in enumerate(found, start=1)}
        return Table(self._file, self._where, named, tuple(named))


def _finite(found: object) -> float:
    """`found` as a float; NaN for everything that is not a finite number (a boolean is not one)."""
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
