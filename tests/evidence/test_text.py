"""Escapes of what cannot be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.text import as_it_was, is_unsafe, visible

ANY = st.text(st.characters())  # lone surrogates among them
NEARLY_ESCAPED = st.text(st.sampled_from("\\xuU0a1f\n\x00"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("昆仑芯 R300, C:\\runs", "昆仑芯 R300, C:\\runs"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("\x00\x1b[31m", "\\x00\\x1b[31m"),
        ("\u2028\u202e\udc80\uffff", "\\u2028\\u202e\\udc80\\uffff"),
        ("\\x0a and \\n", "\\x5cx0a and \\n"),
        ("\\U0001f600", "\\x5cU0001f600"),
        ("a\u061cb\u200bc\xadd", "a\\u061cb\\u200bc\\xadd"),
        ("\U000e0041\U0001f600", "\\U000e0041\U0001f600"),
    ],
)
def test_what_cannot_be_shown_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(ANY | NEARLY_ESCAPED)
def test_an_escaped_text_can_be_had_back(text: str) -> None:
    assert as_it_was(visible(text)) == text


@given(ANY)
def test_what_is_shown_has_no_character_that_a_terminal_acts_on_or_a_file_cannot_hold(text: str) -> None:
    shown = visible(text)

    assert not any(map(is_unsafe, shown))
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len(shown.splitlines()) <= 1
