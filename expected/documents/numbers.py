"""Reads the number in a cell of the performance table: one number, in the metric's unit, or none at all."""

from __future__ import annotations

import math
import re
from decimal import Context, Decimal

from expected.cells import RANGES
from expected.documents.model import Said, Stated, UnreadableError, quote
from expected.documents.quoting import reading_form, without_emphasis
from expected.documents.words import UNITS
from expected.metrics import METRICS
from expected.model import NOT_APPLICABLE, PUBLISHED, UNPUBLISHED

_LONGEST = 40  # characters; no measurement has as many digits
_NUMBER = re.compile(
    r"(?P<whole>0|[1-9][0-9]{0,2}(?P<thousands>(?:,[0-9]{3})+)|[1-9][0-9]*)(?P<rest>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?)"
)
_COUNTED = ("e2e_time", "p_whole", "p_train", "p_core")
"""Metrics that reach thousands; elsewhere a comma is rather a decimal point."""
_ONE_PERCENT = Decimal(1)
_EXACT = Context(prec=2 * _LONGEST)

_FORMS = {
    "map": "a share such as 0.364 or a percentage such as 36.4%",
    "mem": "used/capacity in GiB such as 17.0/32.0",
}


def read_cell(name: str, said: Said, unit: str = "") -> tuple[Stated, str]:
    """What a cell says of a metric, and a remark where the reading deserves one ("" for none).

    Blank is unpublished, "/" not applicable. `unit` is the one that the column's heading gives, in small letters.
    Raises UnreadableError for anything that is not exactly one number in the metric's unit.
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
    """Refuse the unit of a column's heading if it is not the metric's; UnreadableError says which is."""
    if unit and unit.lower() not in UNITS[name]:
        raise UnreadableError(f"{name}: found the unit {quote(unit)}, expected {METRICS[name].unit}")


def _memory(text: str, said: Said) -> tuple[Stated, str]:
    """Used and capacity; where the capacity is missing the caller decides whether it may be."""
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
    if own_unit and own_unit not in UNITS[name]:
        raise UnreadableError(
            f"{name}: found {quote(said.text)}, expected {_form(name)}; {quote(text[match.end() :].strip())} after the "
            "number is neither part of it nor its unit"
        )
    thousands = match["thousands"]
    if thousands and name not in _COUNTED:
        raise UnreadableError(f"{name}: found {quote(said.text)}, expected {_form(name)}, with a decimal point")
    digits = match.group().replace(",", "")
    percent = name == "map" and "%" in (own_unit, unit)
    value = _percent(Decimal(digits), said) if percent else float(digits)
    if not math.isfinite(value) or value not in RANGES[name]:
        hint = "; write a percentage with its sign" if name == "map" and not percent else ""
        raise UnreadableError(f"{name}: found {quote(said.text)}, expected {_form(name)}, {RANGES[name]}{hint}")
    return value, f"{name}: {quote(said.text)} is read as {digits}" if thousands else ""


def _percent(found: Decimal, said: Said) -> float:
    # 0.364% is rather a share with a sign too many than a mAP of four in a thousand.
    if found < _ONE_PERCENT:
        raise UnreadableError(
            f"map: found {quote(said.text)} in percent, expected {_form('map')}; so little is written as a share"
        )
    return float(found.scaleb(-2, _EXACT))


def _form(name: str) -> str:
    return _FORMS.get(name, f"one number in {METRICS[name].unit}")
