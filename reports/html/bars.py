"""Stacked bars as an HTML table: a bar a row, cut into the same parts, with the numbers of each part beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

from markupsafe import Markup

from reports.html.page import render

MOST_PARTS = 7  # that have a colour of their own, p1 to p7 in page.css
_WIDTH = 240


@dataclass(frozen=True)
class Bar:
    """One bar: `parts` in the order of StackedBars.parts, in its unit; `whole` is what they are parts of.

    What is left of the whole stays empty; None makes it their sum. A part below 0 has no width.
    """

    label: str
    parts: Sequence[float]
    whole: float | None = None

    @property
    def length(self) -> float:
        """What the width of the bar stands for: the whole, or the parts if they are more."""
        return max(self.whole or 0.0, sum(max(0.0, part) for part in self.parts))


@dataclass(frozen=True)
class StackedBars:
    """Bars of the same `parts`, of which there are MOST_PARTS at most.

    `corner` says what the bars are of, `label` what they show. With `common` all are drawn to the scale of the longest,
    else each fills the width. `decimals` of the numbers beside them.
    """

    parts: Sequence[str]
    bars: Sequence[Bar]
    unit: str = "s"
    corner: str = ""
    label: str = ""
    common: bool = False
    decimals: int = 1

    def __post_init__(self) -> None:
        assert len(self.parts) <= MOST_PARTS, f"{len(self.parts)} parts, expected {MOST_PARTS} at most"
        wrong = [bar.label for bar in self.bars if len(bar.parts) != len(self.parts)]
        assert not wrong, f"bars {wrong} have not as many numbers as there are parts"


def stacked_bars(of: StackedBars) -> Markup:
    """Return the table with its key.

    >>> stacked_bars(StackedBars(["compute", "data wait"], [Bar("rank 0", [8.2, 1.1], 10.0)], label="where time goes"))
    Markup('<ul class="key parts">...')
    """
    longest = max((bar.length for bar in of.bars), default=0.0)
    rows = [_row(of, bar, longest if of.common else bar.length) for bar in of.bars]
    return render("bars.html", of=of, rows=rows, width=_WIDTH, summed=any(bar.whole is not None for bar in of.bars))


def _row(of: StackedBars, bar: Bar, longest: float) -> dict[str, Any]:
    whole = sum(bar.parts) if bar.whole is None else bar.whole
    parts: list[dict[str, Any]] = []
    at = 0.0
    for number, (name, value) in enumerate(zip(of.parts, bar.parts), start=1):
        width = _WIDTH * max(0.0, value) / longest if longest > 0 else 0.0
        share = f"{value / whole:.1%}" if whole > 0 else "-"
        shown = _spaced(value, of.decimals)
        parts.append(
            {
                "number": number,
                "name": name,
                "x": round(at, 2),
                "width": round(width, 2),
                "value": shown,
                "share": share,
            }
        )
        at += width
    words = ", ".join(
        f"{part['name']} {part['value']} {of.unit} {part['share']}" for part in parts if part["width"] >= 1
    )
    return {
        "label": bar.label,
        "parts": parts,
        "whole": _spaced(whole, of.decimals),
        "booked": f"{sum(bar.parts) / whole:.1%}" if whole > 0 else "-",
        "words": f"{bar.label}: {words}",
    }


def _spaced(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".replace(",", " ")
