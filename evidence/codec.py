"""Decodes JSON objects into dataclasses by their type hints, and encodes them again.

    @dataclass(frozen=True)
    class Memory:
        allocated_gib: float | None
        files: tuple[str, ...] = ()

    decode(Memory, {"allocated_gib": 1.5})   # Memory(allocated_gib=1.5, files=())
    decode(Memory, {"allocated_gib": "x"})   # FieldError: 'allocated_gib' is 'x', expected a finite number
    encode(Memory(None))                     # {"allocated_gib": None, "files": []}

Hints that are understood: int, float, str, bool, Any, AnyFloat, `X | None`, `tuple[X, ...]`, `Mapping[str, X]`,
dataclasses, enums of strings. They are read from their text, as Python 3.8 cannot evaluate `X | None`. A field with a
default, or whose hint has `| None`, may be absent or null.
"""

from __future__ import annotations

import ast
import json
import math
import sys
from array import array
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, Callable, Mapping, NamedTuple, TypeVar

AnyFloat = float
"""A float that may be NaN or infinite; written as one of the strings of NON_FINITE."""

Kind = Callable[[Any], Any]
"""Returns the value decoded, or raises KindError with what was expected instead."""

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How evidence writes the numbers that JSON cannot hold."""

LARGEST = 2**62
"""Of an integer: below the limit of int64, so that a difference of two such numbers still fits."""
_BLANKS = " \t\r\n"  # what JSON allows around a value
_T = TypeVar("_T")


class FieldError(ValueError):
    """A field is missing or has the wrong type; the message is the whole complaint."""


class KindError(FieldError):
    """Raised by a Kind: the message is only what was expected."""


def decode(cls: type[_T], record: Mapping[str, Any], **given: Any) -> _T:
    """Return an instance of the dataclass `cls` from the fields of `record`; fields that it lacks are ignored.

    `given` are values of fields that are not taken from the record. Raises FieldError that names the first wrong field.
    """
    return cls(**decode_fields(record, *kinds_of(cls), skip=given), **given)


def encode(instance: Any) -> Any:
    """Return a dataclass as a JSON object; tuples become lists, enums their values, numbers stay as they are."""
    if is_dataclass(instance):
        return {name: encode(getattr(instance, name)) for name in instance.__dataclass_fields__}
    if isinstance(instance, Enum):
        return instance.value
    if isinstance(instance, (list, tuple)):
        # Lists of numbers and texts are most of a bundle.
        return list(instance) if instance and type(instance[0]) in _PLAIN else [encode(part) for part in instance]
    if isinstance(instance, Mapping):
        return {key: encode(part) for key, part in instance.items()}
    return instance


def dumps(value: Any, indent: int | None = None) -> str:
    """Return strict JSON: NaN and the infinities become the strings of NON_FINITE.

    Pure ASCII without `indent`, and with it if a text has what UTF-8 cannot encode, as the names of some files.
    """
    spaced: dict[str, Any] = {"separators": (",", ":")} if indent is None else {"indent": indent}
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=indent is None, **spaced)
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(_spelled_out(value), allow_nan=False, **spaced)
    except ValueError:
        return dumps(_spelled_out(value), indent)
    return text


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that `raw` holds in UTF-8.

    Raises ValueError for anything else, also for NaN and Infinity as bare words and for a key given twice.
    """
    try:
        text = raw.decode("utf-8").strip(_BLANKS)
        value, end = _DECODER.raw_decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if end != len(text):
        raise ValueError(f"more than one value, the second at column {end + 1}")
    if type(value) is not dict:
        raise ValueError("not an object")
    return value


class Kinds(NamedTuple):
    """The kinds of a dataclass' fields by name; a missing field of `optional` gets its default of `defaults`."""

    required: Mapping[str, Kind]
    optional: Mapping[str, Kind]
    defaults: Mapping[str, Any]


def kinds_of(cls: type) -> Kinds:
    """Return the kinds of the fields of a dataclass. Raises TypeError for a hint that is not understood."""
    if cls not in _KINDS:
        _KINDS[cls] = _read_kinds(cls)
    return _KINDS[cls]


def _read_kinds(cls: type) -> Kinds:
    required: dict[str, Kind] = {}
    optional: dict[str, Kind] = {}
    defaults: dict[str, Any] = {}
    for field in fields(cls):
        kind, may_be_null = _kind(ast.parse(str(field.type), mode="eval").body, vars(sys.modules[cls.__module__]))
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if may_be_null or default is not MISSING:
            optional[field.name] = kind
            defaults[field.name] = None if default is MISSING else default
        else:
            required[field.name] = kind
    return Kinds(required, optional, defaults)


def decode_fields(
    record: Mapping[str, Any],
    required: Mapping[str, Kind],
    optional: Mapping[str, Kind] | None = None,
    defaults: Mapping[str, Any] | None = None,
    skip: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the fields of `record` that `required` and `optional` name, decoded; others are ignored.

    A field of `optional` that is absent or null has its value of `defaults`, else None. Raises FieldError that names
    the first wrong field.
    """
    optional, defaults, skip = optional or {}, defaults or {}, skip or {}
    try:
        decoded = {name: kind(record[name]) for name, kind in required.items() if name not in skip}
        for name, kind in optional.items():
            if name not in skip:
                value = record.get(name)
                decoded[name] = defaults.get(name) if value is None else kind(value)
    except (KeyError, FieldError):
        # Again, field by field, to name the wrong one: evidence has millions of fields, and few of them are wrong.
        for name, kind in required.items():
            if name not in skip and name not in record:
                raise FieldError(f"{name!r} is missing") from None
            if name not in skip:
                _decoded(name, record[name], kind)
        for name, kind in optional.items():
            if record.get(name) is not None and name not in skip:
                _decoded(name, record[name], kind)
        raise
    return decoded


def _decoded(name: str, value: Any, kind: Kind) -> None:
    try:
        kind(value)
    except KindError as error:
        raise FieldError(f"{name!r} is {shortened(value)}, expected {error}") from None
    except FieldError as error:
        raise FieldError(f"in {name!r}: {error}") from None


def shortened(value: Any, limit: int = 60) -> str:
    """Return the repr of `value`, cut to `limit` characters."""
    shown = repr(value)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def whole(value: Any) -> int:
    """Accept an integer that int64 holds; not a bool, not 1.0."""
    if type(value) is not int or abs(value) > LARGEST:
        raise KindError("a whole number")
    return value


def number(value: Any) -> float:
    """Accept a finite number; returned as float."""
    if type(value) in (int, float):
        try:
            decoded = float(value)
        except OverflowError:
            decoded = math.inf
        if math.isfinite(decoded):
            return decoded
    raise KindError("a finite number")


def any_number(value: Any) -> float:
    """Accept a number, or one of the strings "NaN", "Infinity" and "-Infinity"; returned as float."""
    if type(value) is float:  # also what JSON reads out of 1e999
        return value
    if type(value) is str and value in NON_FINITE:
        return NON_FINITE[value]
    return number(value)


def text(value: Any) -> str:
    """Accept a string."""
    if type(value) is not str:
        raise KindError("a string")
    return value


def flag(value: Any) -> bool:
    """Accept true or false."""
    if type(value) is not bool:
        raise KindError("true or false")
    return value


def table(value: Any) -> dict[str, Any]:
    """Accept an object."""
    if type(value) is not dict:
        raise KindError("an object")
    return value


def anything(value: Any) -> Any:
    """Accept whatever JSON can hold."""
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Accept a list of strings."""
    if type(value) is not list:
        raise KindError("a list of strings")
    return tuple(text(part) for part in value)


def whole_numbers(value: Any) -> array[int]:
    """Accept a list of integers; checked without a loop in Python, as evidence has millions of them."""
    if type(value) is list and _INTS.issuperset(map(type, value)):
        try:
            return array("q", value)
        except OverflowError:
            pass
    raise KindError("a list of whole numbers")


def any_numbers(value: Any) -> array[float]:
    """Accept a list of numbers, among them the strings of NON_FINITE."""
    if type(value) is list:
        if _FLOATS.issuperset(map(type, value)):
            return array("d", value)
        try:
            return array("d", map(any_number, value))
        except FieldError:
            pass
    raise KindError(f"a list of numbers or {', '.join(NON_FINITE)}")


_KINDS: dict[type, Kinds] = {}
_PLAIN = frozenset((int, float, str))
_INTS, _FLOATS = frozenset((int,)), frozenset((float,))
_BY_NAME: dict[str, Kind] = {
    "int": whole,
    "float": number,
    "AnyFloat": any_number,
    "str": text,
    "bool": flag,
    "Any": anything,
}


def _kind(hint: ast.expr, namespace: Mapping[str, Any]) -> tuple[Kind, bool]:
    """Return the kind of a type hint, and whether None is allowed."""
    if isinstance(hint, ast.BinOp) and isinstance(hint.right, ast.Constant) and hint.right.value is None:
        return _kind(hint.left, namespace)[0], True
    if isinstance(hint, ast.Name):
        if hint.id in _BY_NAME:
            return _BY_NAME[hint.id], False
        named = namespace.get(hint.id)
        if is_dataclass(named):
            return lambda value: decode(named, table(value)), False  # type: ignore[arg-type]
        if isinstance(named, type) and issubclass(named, Enum):
            return _one_of(named), False
    if isinstance(hint, ast.Subscript) and isinstance(hint.value, ast.Name):
        inside = hint.slice.value if isinstance(hint.slice, ast.Index) else hint.slice  # type: ignore[attr-defined]
        if isinstance(inside, ast.Tuple) and len(inside.elts) == 2:
            first, second = inside.elts
            if hint.value.id == "tuple" and isinstance(second, ast.Constant) and second.value is ...:
                return _list_of(_kind(first, namespace)[0]), False
            if hint.value.id == "Mapping":
                return _by_key(_kind(second, namespace)[0]), False
    raise TypeError(f"no kind for the type hint {ast.dump(hint)}")


def _list_of(kind: Kind) -> Kind:
    if kind is whole:
        return lambda value: tuple(whole_numbers(value))
    if kind is text:
        return texts

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise KindError("a list")
        return tuple(kind(one) for one in value)

    return read


def _by_key(kind: Kind) -> Kind:
    if kind is anything:
        return table
    return lambda value: {name: kind(one) for name, one in table(value).items()}


def _one_of(words: type[Enum]) -> Kind:
    def read(value: Any) -> Enum:
        try:
            return words(value)
        except ValueError:
            raise KindError(f"one of {', '.join(one.value for one in words)}") from None

    return read


def _spelled_out(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _spelled_out(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled_out(part) for part in value]
    return value


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key is given twice")
    return record


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
