"""Stacked bars: widths, shares and numbers."""

from __future__ import annotations

import re

import pytest

from reports.html.bars import Bar, StackedBars, stacked_bars


def widths(html: str) -> list[float]:
    return [float(one) for one in re.findall(r' width="([0-9.]+)" height="14"', html)]


def test_the_parts_fill_their_share_of_the_whole() -> None:
    html = str(stacked_bars(StackedBars(["compute", "wait"], [Bar("rank 0", [8.0, 1.0], 10.0)])))

    assert widths(html) == [192.0, 24.0]
    assert re.search(r"8.0 s <span[^>]*>80.0%</span>", html)
    assert ">90.0%<" in html


def test_without_a_whole_the_parts_are_all_there_is() -> None:
    html = str(stacked_bars(StackedBars(["a", "b"], [Bar("x", [3.0, 1.0])])))

    assert widths(html) == [180.0, 60.0]
    assert "Σ" not in html


def test_bars_of_a_common_scale_are_as_long_as_what_they_show() -> None:
    html = str(stacked_bars(StackedBars(["a"], [Bar("x", [4.0]), Bar("y", [1.0])], common=True)))

    assert widths(html) == [240.0, 60.0]


def test_a_part_below_zero_has_no_width_and_keeps_its_number() -> None:
    html = str(stacked_bars(StackedBars(["a", "b"], [Bar("x", [-1.0, 5.0], 4.0)])))

    assert widths(html) == [240.0]
    assert "-1.0 s" in html


def test_bars_that_do_not_fit_their_parts_are_refused() -> None:
    with pytest.raises(AssertionError, match="bars \\['x'\\] have not as many numbers"):
        StackedBars(["a"], [Bar("x", [1.0, 2.0])])
    with pytest.raises(AssertionError, match="8 parts, expected 7 at most"):
        StackedBars(list("abcdefgh"), [])
