"""Charts as the data of a page."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.text import as_it_was
from reports.html.charts import Chart, Curve, Level, Mark, Series, to_json, x_y

ANY_TEXT = st.text(st.characters())


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_stands_in_the_data_unharmed_and_without_markup(label: str, unit: str) -> None:
    chart = Chart("a", "title", [1, 2], [Series(label, [1.0, None])], unit=unit, marks=[Mark(label, 1.0)])

    written = to_json([chart])

    read = json.loads(written)["a"]
    assert as_it_was(read["series"][0]["label"]) == label
    assert as_it_was(read["marks"][0]["label"]) == label
    assert as_it_was(read["unit"]) == unit
    assert not set("<>&") & set(written)
    assert written.isascii()


def test_what_is_no_number_is_a_gap() -> None:
    values = [1.0, math.nan, math.inf, -math.inf, None, 2.0]

    read = json.loads(to_json([Chart("a", "title", list(range(6)), [Series("one", values)])]))["a"]

    assert read["series"][0]["values"] == [1, None, None, None, None, 2]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_numbers_keep_the_digits_that_a_chart_can_show(values: list) -> None:
    read = json.loads(to_json([Chart("a", "title", values, [Series("one", values)])]))["a"]

    assert read["series"][0]["values"] == pytest.approx(values, rel=1e-5)
    assert read["x"] == pytest.approx(values, rel=1e-8)


def test_a_band_has_both_of_its_edges() -> None:
    chart = Chart("a", "t", [1], [Series("band", [1.0], "band", [2.0])], levels=[Level("bound", 3.0)])

    read = json.loads(to_json([chart]))["a"]

    assert (read["series"][0]["values"], read["series"][0]["upper"]) == ([1], [2])
    assert read["levels"] == [{"label": "bound", "value": 3, "kind": "bound"}]


def test_a_series_has_a_value_for_each_x() -> None:
    with pytest.raises(AssertionError, match="have not as many values"):
        Chart("a", "title", [1, 2], [Series("one", [1.0])])


def test_curves_with_an_x_of_their_own_share_an_axis() -> None:
    roof = Curve("roof", [(10.0, 200.0), (0.1, 2.0)])
    seen = Curve("seen", [(4.0, 66.0)], style="points")

    chart = x_y("roofline", "Roofline", [roof, seen], x_log=True, y_log=True)

    assert chart.x == [0.1, 4.0, 10.0]
    assert [one.values for one in chart.series] == [[2.0, None, 200.0], [None, 66.0, None]]
    assert chart.joined


def test_what_a_logarithmic_axis_cannot_show_is_left_out() -> None:
    curve = Curve("a", [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (2.0, 3.0)])

    assert x_y("a", "t", [curve], x_log=True).x == [2.0]
    assert x_y("a", "t", [curve]).x == [-1.0, 0.0, 2.0]
