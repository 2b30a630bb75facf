"""Reading TOML: files, and tables with known keys."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expected import ExpectationError
from expected.toml_file import Range, Table, describe, parse_toml, read_file


@pytest.mark.parametrize("text", ["a = 1\n", "\ufeffa = 1\r\n"])
def test_a_file_is_read_with_or_without_a_byte_order_mark(text: str) -> None:
    assert parse_toml(text.encode("utf-8"), Path("site.toml")) == {"a": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = 1\nb = '\xff'", r"site\.toml: line 2: found the byte 0xff, expected UTF-8"),
        (b"a = 1\nb = = 2", r"site\.toml: is not valid TOML: .*line 2"),
        (b"a = 1\na = 2\nb = 3", r"site\.toml: is not valid TOML: .*line 2"),
        (b"a = 0,364", r"site\.toml: is not valid TOML: .*line 1"),
        (b"a = " + b"9" * 5000, r"site\.toml: is not valid TOML"),
        (b"a = " + b"[" * 100_000, r"site\.toml: is not valid TOML"),
    ],
)
def test_what_is_not_toml_is_refused_by_file_and_line(data: bytes, message: str) -> None:
    with pytest.raises(ExpectationError, match=message):
        parse_toml(data, Path("site.toml"))


def test_what_cannot_be_read_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ExpectationError, match=f"^{tmp_path}: cannot be read: "):
        read_file(tmp_path)


# More digits than Python prints; a file can write it in hexadecimal.
HUGE = 1 << 20000


def table(**values: Any) -> Table:
    return Table("x100.toml", "part", values, tuple(values))


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (True, "the boolean true"),
        (3, "the integer 3"),
        (0.5, "the number 0.5"),
        ("a", "the string 'a'"),
        ([1], "the array [1]"),
        ({"a": 1}, "the table {'a': 1}"),
        (datetime.date(2026, 11, 23), "the date or time datetime.date(2026, 11, 23)"),
        pytest.param(HUGE, "the integer ", id="huge"),
    ],
)
def test_a_value_is_described_by_kind_and_text(found: object, shown: str) -> None:
    assert describe(found).startswith(shown)


def test_a_long_value_is_shortened() -> None:
    assert describe("y" * 500) == "the string '" + "y" * 56 + "..."


@given(st.floats(allow_nan=False), st.floats(0, 10), st.floats(0, 10), st.booleans(), st.booleans())
def test_a_range_holds_what_lies_between_its_ends_and_an_end_unless_it_is_open(
    number: float, low: float, width: float, low_open: bool, high_open: bool
) -> None:
    high = low + width
    allowed = Range(low, high, low_open, high_open)
    assert (low in allowed) == (not low_open and (high > low or not high_open))
    assert (high in allowed) == (not high_open and (high > low or not low_open))
    if number not in (low, high):
        assert (number in allowed) == (low < number < high)


@pytest.mark.parametrize(
    ("allowed", "text"),
    [
        (Range(0, low_open=True), "> 0"),
        (Range(1), ">= 1"),
        (Range(0, 1, low_open=True), "> 0 and <= 1"),
        (Range(0, 10, low_open=True, high_open=True), "> 0 and < 10"),
    ],
)
def test_a_range_is_printed_as_a_condition(allowed: Range, text: str) -> None:
    assert str(allowed) == text


@pytest.mark.parametrize(
    "found",
    [True, False, "1", None, [1], float("nan"), float("inf"), -1, 0, 10**400, pytest.param(HUGE, id="huge")],
)
def test_what_is_not_a_finite_number_in_range_is_refused(found: object) -> None:
    with pytest.raises(ExpectationError, match=r"^x100\.toml: part\.key: found .*, expected a number > 0 in GiB$"):
        table(key=found).number("key", Range(0, low_open=True), "GiB")


@pytest.mark.parametrize("found", [True, "1", 1.0, 0, -(10**400), [1]])
def test_what_is_not_a_whole_number_in_range_is_refused(found: object) -> None:
    with pytest.raises(ExpectationError, match=r"^x100\.toml: part\.key: found .*, expected a whole number >= 1$"):
        table(key=found).integer("key", Range(1))


@pytest.mark.parametrize("found", [1, ["a"], "", "  \n ", "bell \x07", "nul \x00", "csi \x9b"])
def test_a_text_that_says_nothing_or_cannot_be_printed_is_refused(found: object) -> None:
    with pytest.raises(ExpectationError, match=r"^x100\.toml: part\.key: found "):
        table(key=found).text("key")


def test_a_text_over_several_lines_becomes_one_line() -> None:
    assert table(key="  one\n  two\t昆仑芯 \r\n").text("key") == "one two 昆仑芯"


@pytest.mark.parametrize("found", ["hosts", "", 1, True, ["host"]])
def test_a_choice_that_is_not_offered_is_refused_with_the_offer(found: object) -> None:
    with pytest.raises(ExpectationError, match=r"^x100\.toml: part\.key: found .*, expected one of host, device$"):
        table(key=found).choice("key", ("host", "device"))


@pytest.mark.parametrize("method", ["text", "flag"])
def test_a_missing_key_is_named_with_what_belongs_there(method: str) -> None:
    with pytest.raises(ExpectationError, match=r"^x100\.toml: part\.key: missing; expected (a string|true or false)$"):
        getattr(Table("x100.toml", "part", {}, ("key",)), method)("key")


@pytest.mark.parametrize(("key", "shown"), [("", "''"), ("a b", "'a b'"), ("a\nb", r"'a\\nb'")])
def test_an_odd_unknown_key_stays_visible(key: str, shown: str) -> None:
    with pytest.raises(ExpectationError, match=rf"^x100\.toml: part\.{shown}: unknown key"):
        Table("x100.toml", "part", {key: 1}, ("name",))


def test_an_unknown_key_that_resembles_none_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(ExpectationError) as caught:
        Table("x100.toml", "part", {"zzz": 1}, ("name", "vendor"))
    assert str(caught.value) == "x100.toml: part.zzz: unknown key (allowed here: name, vendor)"


def test_arrays_of_texts_and_numbers_are_read_entry_by_entry() -> None:
    assert table(key=["a", " b "]).texts("key") == ("a", "b")
    assert table(key=[1, 2.5]).numbers("key", Range(0)) == (1.0, 2.5)
    assert table(key=[]).texts("key") == ()


@pytest.mark.parametrize(
    ("found", "where", "message"),
    [("ab", "key", "an array of strings"), (["a", 3], r"key\[2\]", "a string"), ([""], r"key\[1\]", "blank")],
)
def test_an_array_of_anything_but_texts_is_refused_by_its_entry(found: object, where: str, message: str) -> None:
    with pytest.raises(ExpectationError, match=rf"^x100\.toml: part\.{where}: found .*{message}"):
        table(key=found).texts("key")


@pytest.mark.parametrize(("found", "where"), [(3, "key"), ([1, -1], r"key\[2\]"), (["1"], r"key\[1\]")])
def test_an_array_of_anything_but_numbers_in_range_is_refused_by_its_entry(found: object, where: str) -> None:
    with pytest.raises(ExpectationError, match=rf"^x100\.toml: part\.{where}: found .*, expected a"):
        table(key=found).numbers("key", Range(0))
