"""Heat maps: colours by the share of the bound, and the numbers behind each tile."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.html.heatmap import HeatMap, Tile, heat_map
from tests.reports.html.runs import HOSTILE


@pytest.mark.parametrize(
    ("share", "step"),
    [(0.0, 0), (0.25, 0), (0.26, 1), (0.75, 2), (1.0, 3), (1.001, 4), (math.inf, 4), (math.nan, 4), (None, None)],
)
def test_the_colour_follows_from_the_share_and_only_above_one_fails(share: float | None, step: int | None) -> None:
    tile = Tile("x", share)

    assert (tile.step, tile.failed) == (step, step == 4)


def test_each_tile_has_its_text_its_colour_and_its_numbers() -> None:
    tiles = {(0, 1): Tile("5 %", 0.05, {"found": "1 ULP", "bound": "20 ULP"}), (1, 0): Tile("∞", math.inf)}

    html = str(heat_map(HeatMap("ops", "Operators", ["exp", "conv2d"], ["fp32", "bf16"], tiles, corner="operator")))

    rows = re.findall(r'<th scope="row">(\w+)</th>(.*)</tr>', html)
    assert [name for name, _ in rows] == ["exp", "conv2d"]
    assert re.fullmatch(r'<td></td><td><button .*class="tile h0".*>5 %</button></td>', rows[0][1])
    assert 'data-details="found&#9;1 ULP&#10;bound&#9;20 ULP"' in rows[0][1]
    assert re.fullmatch(r'<td><button .*class="tile h4".*>✗ ∞</button></td><td></td>', rows[1][1])


@given(st.text(st.characters()))
def test_text_from_outside_adds_no_markup(text: str) -> None:
    of = HeatMap("a", text, [text], [text], {(0, 0): Tile(text, 2.0, {text: text})}, [(text, 1)], text, text, text)

    html = str(heat_map(of))

    assert html.count("<") == str(heat_map(HeatMap("a", "", [""], [""], {(0, 0): Tile("", 2.0)}, [("", 1)]))).count("<")


def test_hostile_text_is_escaped() -> None:
    html = str(heat_map(HeatMap("a", "t", ["r"], ["c"], {(0, 0): Tile("x", 0.5, {HOSTILE: HOSTILE})})))

    assert "<script" not in html
    assert "<img" not in html


def test_a_tile_outside_and_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AssertionError, match="are in no row or column"):
        HeatMap("a", "t", ["r"], ["c"], {(0, 1): Tile("x", 1.0)})
    with pytest.raises(AssertionError, match="groups span 2 columns"):
        HeatMap("a", "t", ["r"], ["c"], {}, groups=[("g", 2)])
