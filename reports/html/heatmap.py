"""Heat maps as HTML tables: a tile for each row and column; page.js shows the numbers of the one that has the focus."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Mapping, Sequence, Tuple

from markupsafe import Markup

from reports.html.page import render

LIMITS = (0.25, 0.5, 0.75, 1.0)
"""Upper ends of the colour steps, as shares of the bound; the last step, above 1, fails."""
_NOT_A_NUMBER = "x"

Place = Tuple[int, int]


@dataclass(frozen=True)
class Tile:
    """One cell of a heat map: `text` stands in it, `share` of its bound gives the colour.

    `share` is what was found over what is allowed: above 1 fails (or not finite), 0 is as good as can be. Where more is
    better, as for a bandwidth, it is the bound over what was found. None has no bound and no colour. `details` are the
    numbers behind it, by name, in the order in which they are shown.
    """

    text: str
    share: float | None
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int | None:
        """The colour: the number of LIMITS that the share exceeds; None without a bound."""
        if self.share is None:
            return None
        return len(LIMITS) if math.isnan(self.share) else sum(self.share > one for one in LIMITS)

    @property
    def failed(self) -> bool:
        """Whether the share is above 1."""
        return self.step == len(LIMITS)


@dataclass(frozen=True)
class HeatMap:
    """A matrix: `tiles` by (row, column), counted from 0; a place without one was not measured and stays empty.

    `id` is unique on the page: lower-case letters, digits and "-". `groups` are headings above the columns, each with
    the number of columns that it spans. `corner` says what the rows are, `measure` what the share of the bound is of.
    """

    id: str
    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    tiles: Mapping[Place, Tile]
    groups: Sequence[tuple[str, int]] = ()
    corner: str = ""
    measure: str = ""
    summary: str = ""

    def __post_init__(self) -> None:
        outside = [at for at in self.tiles if not (0 <= at[0] < len(self.rows) and 0 <= at[1] < len(self.columns))]
        assert not outside, f"heat map {self.id}: tiles at {outside} are in no row or column"
        spanned = sum(count for _, count in self.groups)
        assert not self.groups or spanned == len(self.columns), f"heat map {self.id}: groups span {spanned} columns"


def heat_map(of: HeatMap) -> Markup:
    """Return the table with its key and the place where the numbers of a tile are shown; page.js does the latter.

    >>> pairs = {(0, 1): Tile("182", 180 / 182, {"found": "182 Gb/s", "bound": "180 Gb/s"})}
    >>> heat_map(HeatMap("links", "Bandwidth", ["device 0"], ["device 0", "device 1"], pairs, measure="the bound"))
    Markup('<figure class="heat" ...')
    """
    steps = [tile.step for tile in of.tiles.values()]
    ends = [0.0, *LIMITS]
    return render(
        "heatmap.html",
        map=of,
        lines=[
            (name, [of.tiles.get((at, column)) for column in range(len(of.columns))]) for at, name in enumerate(of.rows)
        ],
        key=[(step, f"{ends[step]:.0%}", f"{LIMITS[step]:.0%}" if step < len(LIMITS) else "") for step in range(5)],
        has_none=None in steps,
    )
