"""The pages' own words: in both languages, with the vendors' terms, and none that no page uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reports.html
from expected.documents.words import COLUMN_OF
from reports.html.texts import LANGUAGES, in_language, language, text, texts

FOLDER = Path(reports.html.__file__).parent
NAMES = re.compile(r"\{(\w*)\}")
USED = re.compile(r"""["']([a-z_]+\.[a-z0-9_]*)(?=["'{])""")
ASKED = re.compile(r"""\btext\(\s*["']([a-z_]+\.[a-z0-9_]+)["']""")


def test_every_text_is_there_in_both_languages_with_the_same_names_in_it() -> None:
    for key, both in texts().items():
        assert set(both) == set(LANGUAGES), key
        assert all(one.strip() for one in both.values()), key
        assert len({frozenset(NAMES.findall(one)) for one in both.values()}) == 1, key


def test_the_metrics_are_called_as_in_the_vendors_tables() -> None:
    with in_language("zh"):
        found = {name: text(f"metric.{name}") for name in COLUMN_OF.values() if f"metric.{name}" in texts()}

    assert found == {name: term for term, name in COLUMN_OF.items() if name in found}
    assert {"p_whole", "p_train", "p_core", "e2e_time", "map", "mem"} <= set(found)


def test_every_key_that_is_asked_for_exists_and_every_text_is_asked_for() -> None:
    sources = [path.read_text(encoding="utf-8") for path in FOLDER.parent.rglob("*.py")]
    sources += [path.read_text(encoding="utf-8") for path in (FOLDER / "templates").glob("*.html")]
    named = {key for source in sources for key in USED.findall(source)}
    sections = tuple(key for key in named if key.endswith("."))  # as in text(f"state.{verdict}")

    unknown = [key for source in sources for key in ASKED.findall(source) if key not in texts()]
    unused = [key for key in texts() if key not in named and not key.startswith(sections)]
    assert (unknown, unused) == ([], [])


def test_the_language_is_that_of_the_block() -> None:
    with in_language("zh"):
        assert (language(), text("state.fail")) == ("zh", "不通过")
    assert (language(), text("state.fail")) == ("en", "fail")


def test_an_unknown_language_or_key_is_refused() -> None:
    with pytest.raises(AssertionError, match="language fr, expected one of"), in_language("fr"):
        pass
    with pytest.raises(KeyError, match=r"no\.such"):
        text("no.such")


def test_a_value_is_not_filled_in_again() -> None:
    assert text("cause.several", places="{places} {0}") == "Several ranks are slower than the others: {places} {0}"
