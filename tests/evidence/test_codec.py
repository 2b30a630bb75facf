"""Typed fields: what is not exactly of its kind is refused with what was found and expected."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evidence.codec import FieldError, any_number, decode_fields, flag, number, shortened, table, text, whole


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1], 2**63, -(2**63)])
def test_only_whole_numbers_that_fit_are_whole(value: Any) -> None:
    with pytest.raises(FieldError, match="whole number"):
        whole(value)


@pytest.mark.parametrize("value", [True, "1", None, math.nan, math.inf, 10**400])
def test_only_finite_numbers_are_numbers(value: Any) -> None:
    with pytest.raises(FieldError, match="finite number"):
        number(value)


def test_a_whole_number_is_a_number_and_becomes_a_float() -> None:
    assert number(3) == 3.0
    assert type(number(3)) is float


@pytest.mark.parametrize(("written", "meant"), [("Infinity", math.inf), ("-Infinity", -math.inf), (2, 2.0), (0.5, 0.5)])
def test_numbers_that_json_cannot_hold_are_read_from_their_names(written: Any, meant: float) -> None:
    assert any_number(written) == meant


def test_nan_is_read_from_its_name() -> None:
    assert math.isnan(any_number("NaN"))


@pytest.mark.parametrize("value", ["nan", "inf", "", None, True])
def test_other_words_are_no_numbers(value: Any) -> None:
    with pytest.raises(FieldError):
        any_number(value)


@pytest.mark.parametrize(
    ("kind", "value"), [(text, 1), (text, None), (flag, 1), (flag, "true"), (table, []), (table, None)]
)
def test_a_value_of_another_kind_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(FieldError):
        kind(value)


def test_fields_that_are_not_asked_for_are_ignored() -> None:
    assert decode_fields({"a": 1, "b": 2}, {"a": whole}) == {"a": 1}


def test_a_missing_field_is_named() -> None:
    with pytest.raises(FieldError, match="'a' is missing"):
        decode_fields({"b": 2}, {"a": whole})


def test_a_wrong_field_is_named_with_what_was_found_and_expected() -> None:
    with pytest.raises(FieldError, match="'a' is 'x', expected a whole number"):
        decode_fields({"a": "x"}, {"a": whole})


def test_a_fault_inside_of_a_field_names_both() -> None:
    with pytest.raises(FieldError, match="in 'outer': 'inner' is missing"):
        decode_fields({"outer": {}}, {"outer": lambda value: decode_fields(value, {"inner": whole})})


@pytest.mark.parametrize("record", [{}, {"a": None}])
def test_an_optional_field_that_is_absent_or_null_is_none(record: Any) -> None:
    assert decode_fields(record, {}, {"a": whole}) == {"a": None}


def test_null_is_no_value_of_a_required_field() -> None:
    with pytest.raises(FieldError, match="'a' is None"):
        decode_fields({"a": None}, {"a": whole})


def test_a_long_value_is_cut_in_messages() -> None:
    assert len(shortened("x" * 1000)) == 60
