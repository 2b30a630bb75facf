"""Typed fields out of JSON objects that nobody has checked yet."""

from __future__ import annotations

import math
from typing import Any, Callable, Mapping

Kind = Callable[[Any], Any]
"""Returns the value decoded, or raises KindError with what was expected instead."""

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How evidence writes the numbers that JSON cannot hold."""

_LARGEST = 2**62  # below the limit of int64, so that a difference of two such numbers still fits


class FieldError(ValueError):
    """A field is missing or is not what it has to be; the message is the whole complaint."""


class KindError(FieldError):
    """Raised by a Kind: the message is only what was expected."""


def whole(value: Any) -> int:
    """A whole number that int64 holds; True and 1.0 are none."""
    if type(value) is not int or abs(value) > _LARGEST:
        raise KindError("a whole number")
    return value


def number(value: Any) -> float:
    """A finite number, as float."""
    if type(value) in (int, float):
        try:
            decoded = float(value)
        except OverflowError:
            decoded = math.inf
        if math.isfinite(decoded):
            return decoded
    raise KindError("a finite number")


def any_number(value: Any) -> float:
    """A number, or one of the strings "NaN", "Infinity" and "-Infinity", as float."""
    if type(value) is float:  # also what JSON reads out of 1e999
        return value
    if type(value) is str and value in NON_FINITE:
        return NON_FINITE[value]
    return number(value)


def text(value: Any) -> str:
    """A string."""
    if type(value) is not str:
        raise KindError("a string")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """A list of strings."""
    if type(value) is not list:
        raise KindError("a list of strings")
    return tuple(text(part) for part in value)


def flag(value: Any) -> bool:
    """true or false."""
    if type(value) is not bool:
        raise KindError("true or false")
    return value


def table(value: Any) -> dict[str, Any]:
    """An object."""
    if type(value) is not dict:
        raise KindError("an object")
    return value


def decode(
    record: Mapping[str, Any], kinds: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None
) -> dict[str, Any]:
    """The fields of `record` that `kinds` and `optional` name, decoded; others are ignored.

    A field of `optional` that is absent or null is None. Raises FieldError that names the first wrong field.
    """
    try:
        decoded = {name: kind(record[name]) for name, kind in kinds.items()}
        for name, kind in (optional or {}).items():
            value = record.get(name)
            decoded[name] = None if value is None else kind(value)
    except (KeyError, FieldError):
        # Again, field by field, to say which: evidence has millions of fields, and few of them are wrong.
        return _decode_slowly(record, kinds, optional or {})
    return decoded


def _decode_slowly(
    record: Mapping[str, Any], kinds: Mapping[str, Kind], optional: Mapping[str, Kind]
) -> dict[str, Any]:
    decoded = {}
    for name, kind in kinds.items():
        if name not in record:
            raise FieldError(f"{name!r} is missing")
        decoded[name] = _decoded(name, record[name], kind)
    for name, kind in optional.items():
        value = record.get(name)
        decoded[name] = None if value is None else _decoded(name, value, kind)
    return decoded


def _decoded(name: str, value: Any, kind: Kind) -> Any:
    try:
        return kind(value)
    except KindError as error:
        raise FieldError(f"{name!r} is {shortened(value)}, expected {error}") from None
    except FieldError as error:
        raise FieldError(f"in {name!r}: {error}") from None


def shortened(value: Any, limit: int = 60) -> str:
    """`value` as it would be typed, cut to `limit` characters."""
    shown = repr(value)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
