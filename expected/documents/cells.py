"""Reads the cells of the performance table: precision, hyper-parameters, and one number a metric."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Context, Decimal

from evidence.run_file import PRECISIONS
from expected.documents.model import Said, Stated, UnreadableError, quote
from expected.documents.quoting import reading_form, without_emphasis
from expected.documents.words import CONVERTED, UNITS
from expected.metrics import METRICS
from expected.model import NOT_APPLICABLE, PUBLISHED, UNPUBLISHED, Topology
from expected.toml_file import ExpectationError

_SEPARATOR = re.compile(r"(?:[\s,;、]|<br\s*/?>)*", re.IGNORECASE)
_PARAMETER = re.compile(
    r"(?P<name>learning[ _-]?rate|lr|(?:train[ _-]?)?batch[ _-]?size|bs)\s*[=:]?\s*"
    r"(?P<value>[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?)(?=$|[\s,;、<])",
    re.IGNORECASE,
)
_BATCH_SIZE = re.compile("[1-9][0-9]{0,5}")
_DEFAULTS = re.compile(r"(?:(?P<topology>[0-9]+x[0-9]+):)?(?P<rest>.*)", re.DOTALL)
UNSTATED = ("", "/")
_PRINTED = tuple(name for name in PRECISIONS if name != "tf32")

_LONGEST = 40  # characters; no measurement has as many digits
_NUMBER = re.compile(
    r"(?P<whole>0|[1-9][0-9]{0,2}(?P<thousands>(?:,[0-9]{3})+)|[1-9][0-9]*)(?P<rest>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?)"
)
_COUNTED = ("e2e_time", "p_whole", "p_train", "p_core")
"""Metrics that reach thousands; in others a comma is more likely a decimal point."""
_ONE_PERCENT = Decimal(1)
_EXACT = Context(prec=2 * _LONGEST)

_FORMS = {
    "map": "a share such as 0.364 or a percentage such as 36.4%",
    "mem": "used/capacity in GiB such as 17.0/32.0",
}


@dataclass(frozen=True)
class Hyper:
    """Hyper-parameters of a row; None for one that the document leaves out."""

    batch_size: int | None
    learning_rate: float | None


@dataclass(frozen=True)
class Default:
    """Hyper-parameters for rows that print none, of one topology or (None) of all; `origin` is where they are from."""

    topology: Topology | None
    hyper: Hyper
    origin: str = "--default-hp"


def read_precision(said: Said) -> str:
    """Return the precision in a cell. Raises UnreadableError unless it is exactly one of PRECISIONS."""
    word = reading_form(without_emphasis(said.text)).strip().lower()
    if word not in _PRINTED:
        hint = (
            "; TF32 is how fp32 is multiplied: write fp32 here, and tf32 = true below [recipe] of the device file"
            if word == "tf32"
            else ""
        )
        raise UnreadableError(f"precision: found {quote(said.text)}, expected one of {', '.join(_PRINTED)}{hint}")
    return word


def read_hyper(text: str) -> Hyper:
    """Return the hyper-parameters in a cell, in any order; none for blank or "/".

    Raises UnreadableError for other parameters, repeated ones, and any other text.

    >>> read_hyper("bs=16, lr=0.16")
    Hyper(batch_size=16, learning_rate=0.16)
    """
    form = reading_form(without_emphasis(text)).strip()
    if form in UNSTATED:
        return Hyper(None, None)
    found: dict[str, str] = {}
    position = 0
    while position < len(form):
        match = _PARAMETER.match(form, position)
        if match is None:
            raise UnreadableError(
                f"fix_hp: found {quote(text)}, expected bs and lr, as in bs=16,lr=0.16; cannot tell what "
                f"{quote(form[position:])} means"
            )
        name = "lr" if match["name"].lower().startswith("l") else "bs"
        if name in found:
            raise UnreadableError(f"fix_hp: found {name} twice in {quote(text)}, expected it once")
        found[name] = match["value"]
        separator = _SEPARATOR.match(form, match.end())
        position = match.end() if separator is None else separator.end()
    return Hyper(_batch_size(found.get("bs"), text), _learning_rate(found.get("lr"), text))


def read_default(text: str) -> Default:
    """Parse --default-hp: "bs=2,lr=0.02", or for one topology "1x8:bs=2,lr=0.02". Raises UnreadableError."""
    match = _DEFAULTS.fullmatch(text)
    assert match is not None  # everything matches
    try:
        topology = Topology.parse(match["topology"]) if match["topology"] else None
        hyper = read_hyper(match["rest"])
    except ExpectationError as error:
        raise UnreadableError(f"default hyper-parameters {quote(text)}: {error}") from error
    if hyper.batch_size is None or hyper.learning_rate is None:
        raise UnreadableError(f"default hyper-parameters {quote(text)}: expected both, as in bs=2,lr=0.02")
    return Default(topology, hyper)


def _batch_size(value: str | None, text: str) -> int | None:
    if value is None:
        return None
    if not _BATCH_SIZE.fullmatch(value):
        raise UnreadableError(f"fix_hp: found the batch size {quote(value)} in {quote(text)}, expected a whole number")
    return int(value)


def _learning_rate(value: str | None, text: str) -> float | None:
    if value is None:
        return None
    rate = float(value)
    if not 0 < rate < 10:
        raise UnreadableError(f"fix_hp: found the learning rate {quote(value)} in {quote(text)}, expected > 0 and < 10")
    return rate


def read_cell(name: str, said: Said, unit: str = "") -> tuple[Stated, str]:
    """Return the content of a metric's cell, and a remark on how it was read ("" for none).

    Blank is unpublished, "/" not applicable. `unit` is that of the column's heading, in lower case. Raises
    UnreadableError for anything but exactly one number in the metric's unit.
    """
    text = reading_form(without_emphasis(said.text)).strip()
    if not text:
        return Stated(UNPUBLISHED, None, None, said), ""
    if text == "/":
        return Stated(NOT_APPLICABLE, None, None, said), ""
    if len(text) > _LONGEST:
        raise UnreadableError(f"{name}: found {quote(said.text)}, expected {_form(name)}")
    if name == "mem":
        return _memory(text, said)
    value, remark = _number(name, text, unit, said)
    return Stated(PUBLISHED, value, None, said), remark


def check_unit(name: str, unit: str) -> None:
    """Raises UnreadableError if the unit of a column is neither the metric's nor one that is converted."""
    if unit and _factor(name, unit) is None:
        known = ", ".join((METRICS[name].unit, *CONVERTED.get(name, {})))
        raise UnreadableError(f"{name}: found the unit {quote(unit)}, expected {known}")


def same_unit(name: str, one: str, other: str) -> bool:
    """Return whether two units of a metric that `check_unit` accepts, "" for its own, are the same."""
    percent = "%" in (one, other) and one != other
    return _factor(name, one) == _factor(name, other) and not percent


def _factor(name: str, unit: str) -> int | None:
    """Return how many of the metric's own unit one of `unit` is; None for an unknown unit."""
    if not unit or unit.lower() in UNITS.get(name, ()):
        return 1
    return CONVERTED.get(name, {}).get(unit.lower())


def _memory(text: str, said: Said) -> tuple[Stated, str]:
    """Read "used/capacity"; the caller decides whether the capacity may be missing."""
    parts = text.split("/")
    if len(parts) > 2:
        raise UnreadableError(f"mem: found {quote(said.text)}, expected {_form('mem')}")
    used, _ = _number("mem", parts[0].strip(), "", said)
    if len(parts) == 1:
        return Stated(PUBLISHED, used, None, said), ""
    capacity, _ = _number("mem", parts[1].strip(), "", said)
    if used > capacity:
        raise UnreadableError(f"mem: found {quote(said.text)}: more in use than there is, expected {_form('mem')}")
    return Stated(PUBLISHED, used, capacity, said), ""


def _number(name: str, text: str, unit: str, said: Said) -> tuple[float, str]:
    match = _NUMBER.match(text)
    if match is None:
        raise UnreadableError(f"{name}: found {quote(said.text)}, expected {_form(name)}, blank or /")
    own_unit = text[match.end() :].strip().lower()
    factor = _factor(name, own_unit or unit)
    if factor is None:
        raise UnreadableError(
            f"{name}: found {quote(said.text)}, expected {_form(name)}; {quote(text[match.end() :].strip())} after the "
            "number is neither part of it nor its unit"
        )
    if own_unit and unit and not same_unit(name, own_unit, unit):
        raise UnreadableError(f"{name}: found {quote(said.text)} in a column in {unit}, expected one unit")
    thousands = match["thousands"]
    if thousands and name not in _COUNTED:
        raise UnreadableError(f"{name}: found {quote(said.text)}, expected {_form(name)}, with a decimal point")
    digits = match.group().replace(",", "")
    percent = name == "map" and "%" in (own_unit, unit)
    value = _percent(Decimal(digits), said) if percent else float(_EXACT.multiply(Decimal(digits), factor))
    if not math.isfinite(value) or value not in METRICS[name].allowed:
        hint = "; write a percentage with its sign" if name == "map" and not percent else ""
        raise UnreadableError(
            f"{name}: found {quote(said.text)}, expected {_form(name)}, {METRICS[name].allowed}{hint}"
        )
    if factor != 1:
        return value, f"{name}: {quote(said.text)} in {own_unit or unit} is read as {value!r} {METRICS[name].unit}"
    return value, f"{name}: {quote(said.text)} is read as {digits}" if thousands else ""


def _percent(found: Decimal, said: Said) -> float:
    # 0.364% is more likely a share with a superfluous sign than a mAP of 0.00364.
    if found < _ONE_PERCENT:
        raise UnreadableError(
            f"map: found {quote(said.text)} in percent, expected {_form('map')}; so little is written as a share"
        )
    return float(found.scaleb(-2, _EXACT))


def _form(name: str) -> str:
    return _FORMS.get(name, f"one number in {METRICS[name].unit}")
