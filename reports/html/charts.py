"""Charts as data, which assets/page.js draws."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, is_dataclass
from typing import Any, Iterable, Optional, Sequence, Tuple

from evidence.text import visible
from reports.html.texts import text

KINDS = ("elapsed_s", "index", "category", "bytes")
STYLES = ("line", "points", "bars", "band")
TONES = ("", "muted", "accent", "bad", "culprit")
_DIGITS = 6
_FEW_LINES = 4  # have colours of their own
_X_DIGITS = 9
_POSITIONS = ("x", "begin", "end")  # in the unit of x
# `</script>` and `<!--` would end or change the element that the text stands in.
_MARKUP = {character: f"\\u{ord(character):04x}" for character in "<>&"}

Number = Optional[float]
Point = Tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line of a chart: a value for each x, None (or NaN) if there is none.

    `style` is one of STYLES; a "band" lies between `values` and `upper`. `tone` is one of TONES: "" takes the next
    colour of the palette, "muted" steps back (one of many ranks), "accent" and "bad" stand out, "culprit" is the
    one device or rank at fault, which has the same colour wherever it is drawn. Colours never stand
    alone: the lines of a chart are also dashed differently.
    """

    label: str
    values: Sequence[Number]
    style: str = "line"
    upper: Sequence[Number] = ()
    tone: str = ""


@dataclass(frozen=True)
class Mark:
    """A vertical line at `begin`, or the region up to `end`, in the unit of x.

    `sign` is the letter or two that stand above it, `label` its entry in the key below the chart.
    `tone` is one of TONES.
    """

    label: str
    begin: float
    end: float | None = None
    sign: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Level:
    """A horizontal line: a bound that decides ("bound") or what is published ("published")."""

    label: str
    value: float
    kind: str = "bound"


@dataclass(frozen=True)
class Chart:
    """A chart: `x` ascending, in the unit of `kind` (seconds, a number, bytes, or the positions of `categories`).

    `id` is unique on the page: lower-case letters, digits and "-". `summary` says in words what is to be seen,
    below the chart and for screen readers. `from_zero`: the vertical scale begins at 0. Charts of the same `group`
    share their cursor. `x_log`, `y_log`: the axis is logarithmic, so that what is not above 0 is not drawn. `joined`:
    lines go on where a series has no value for an x.
    """

    id: str
    title: str
    x: Sequence[float]
    series: Sequence[Series]
    unit: str = ""
    kind: str = "index"
    x_label: str = ""
    categories: Sequence[str] = ()
    marks: Sequence[Mark] = ()
    levels: Sequence[Level] = ()
    summary: str = ""
    from_zero: bool = False
    group: str = ""
    x_log: bool = False
    y_log: bool = False
    joined: bool = False

    def __post_init__(self) -> None:
        wrong = [one.label for one in self.series if len(one.values) != len(self.x)]
        assert not wrong, f"chart {self.id}: series {wrong} have not as many values as x"
        assert self.kind in KINDS, f"chart {self.id}: kind {self.kind}"
        assert all(one.style in STYLES for one in self.series), f"chart {self.id}: a style is none of {STYLES}"


def over_time(identity: str, title: str, x: Sequence[float], series: Sequence[Series], **facts: Any) -> Chart:
    """Return a chart of the run's time; `facts` are further fields of it."""
    return Chart(identity, title, x, series, kind="elapsed_s", x_label=text("chart.elapsed"), **facts)


@dataclass(frozen=True)
class Curve:
    """A series of an x-y chart with an x of its own: (x, y) in any order; `style` and `tone` as of Series."""

    label: str
    points: Sequence[Point]
    style: str = "line"
    tone: str = ""


def x_y(identity: str, title: str, curves: Sequence[Curve], **facts: Any) -> Chart:
    """Return a chart of curves, each with an x of its own; `facts` are further fields of it.

    >>> roof = Curve("roof", [(0.1, 2.0), (10.0, 200.0), (1000.0, 200.0)])
    >>> seen = Curve("operators", [(31.0, 120.0), (4.0, 66.0)], style="points")
    >>> x_y("roofline", "Roofline", [roof, seen], unit="TFLOP/s", x_label="FLOP/byte", x_log=True, y_log=True).x
    [0.1, 4.0, 10.0, 31.0, 1000.0]
    """
    log = bool(facts.get("x_log"))
    x = sorted({x for curve in curves for x, _ in curve.points if math.isfinite(x) and (x > 0 or not log)})
    known = [dict(curve.points) for curve in curves]
    series = [
        Series(curve.label, [values.get(at) for at in x], curve.style, tone=curve.tone)
        for curve, values in zip(curves, known)
    ]
    return Chart(identity, title, x, series, joined=True, **facts)


def lines_of(labels: Sequence[str], values: Sequence[Sequence[Number]], culprit: int | None) -> list[Series]:
    """Return a line for each label: that of the `culprit` stands out, and of more than a few the others step back."""
    many = len(labels) > _FEW_LINES
    others = [
        Series(label, line, tone="muted" if many or culprit is not None else "")
        for at, (label, line) in enumerate(zip(labels, values))
        if at != culprit
    ]
    return others if culprit is None else [*others, Series(labels[culprit], values[culprit], tone="culprit")]


def to_json(charts: Iterable[Chart]) -> str:
    """Return the charts as a JSON object by id that can stand in a script element: ASCII, without < > and &."""
    text = json.dumps({chart.id: _plain(chart) for chart in charts}, allow_nan=False, separators=(",", ":"))
    for character, escape in _MARKUP.items():
        text = text.replace(character, escape)
    return text


def _plain(value: Any, digits: int = _DIGITS) -> Any:
    """Return a chart, or a part of it, as JSON: texts escaped, numbers with as many digits as can be seen."""
    if isinstance(value, str):
        return visible(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return _number(value, digits)
    if is_dataclass(value):
        return {name: _plain(part, _X_DIGITS if name in _POSITIONS else digits) for name, part in vars(value).items()}
    return [_plain(part, digits) for part in value]


def _number(value: float, digits: int) -> float | int | None:
    if not math.isfinite(value):
        return None
    if type(value) is int and abs(value) < 10**digits:  # positions, of which there are many
        return value
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) else short
