"""Text through Markdown and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.text import visible
from expected.documents.markdown import Table, split
from expected.documents.quoting import quoted, reading_form, shown, unquoted, without_emphasis

ANY = st.text(st.characters())  # lone surrogates among them
NEARLY_MARKUP = st.text(st.sampled_from("\\x0au&#124;|<>`*_[]!~$@:/.w \n\u3000｜"))


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("昆仑芯 R300, 200Gb/s", "昆仑芯 R300, 200Gb/s"),
        ("pytorch1.12.1-cpu:v0.04", "pytorch1.12.1-cpu:v0.04"),
        ("bi_v100", "bi_v100"),
        ("_a_", "\\_a\\_"),
        ("a|b", "a\\|b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("`rm`", "\\`rm\\`"),
        ("[a](b)", "\\[a\\](b)"),
        ("a\nb\x00", "a\\x0ab\\x00"),
        ("\u202eb\udc80\u2028", "\\u202eb\\udc80\\u2028"),
        ("C:\\runs", "C:\\\\runs"),
        ("\\x0a", "\\\\x0a"),
        (" a  b ", "&#32;a &#32;b&#32;"),
        ("https://a www.b c@d", "https&#58;//a www&#46;b c&#64;d"),
        ("a｜b", "a&#65372;b"),
        ("-->", "--&gt;"),
    ],
)
def test_text_is_shown_and_does_nothing(text: str, markdown: str) -> None:
    assert quoted(text) == markdown
    assert unquoted(markdown) == text


@given(ANY | NEARLY_MARKUP)
def test_quoted_text_can_be_had_back(text: str) -> None:
    assert shown(quoted(text)) == text


@given(ANY | NEARLY_MARKUP)
def test_quoted_text_stays_in_its_cell_and_has_no_markup(text: str) -> None:
    markdown = quoted(text)

    (table,) = split(f"| a | b |\n|---|---|\n| {markdown} | 5 |")
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[0]] == [markdown, "5"]
    assert not set("<>") & set(markdown)
    assert markdown.encode("utf-8").decode("utf-8") == markdown
    assert len(markdown.splitlines()) <= 1
    assert all(one.isprintable() or one == " " for one in visible(markdown).replace("\u00a0", " ") if ord(one) < 0x100)


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("a\\_b", "a_b"),
        ("C:\\Users", "C:\\Users"),
        ("\\x41", "\\x41"),
        ("&amp;lt;", "&lt;"),
        ("&#x7c;&#124;", "||"),
        ("&#0;&#9999999;", "&#0;&#9999999;"),
        ("&copy;", "&copy;"),
        ("**a**", "a"),
        ("`__a__`", "a"),
        ("**a** b **c**", "**a** b **c**"),
        ("*a\\*", "*a*"),
        ("**", "**"),
    ],
)
def test_markdown_of_others_is_read_as_it_is_shown(markdown: str, text: str) -> None:
    assert shown(markdown) == text


@given(ANY)
def test_the_reading_form_keeps_every_place(text: str) -> None:
    assert len(reading_form(text)) == len(text)


@given(NEARLY_MARKUP)
def test_marks_are_taken_off_until_none_encloses_the_text(text: str) -> None:
    once = without_emphasis(text)

    assert without_emphasis(once) == once
