"""The pages' own words in English and Chinese, from texts.toml; what evidence and verdicts say stays as it is."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Iterator, Mapping

from expected.toml_file import tomllib

LANGUAGES = ("en", "zh")
"""ISO 639-1: English, and Chinese in simplified characters with the vendors' terms."""

_LANGUAGE: ContextVar[str] = ContextVar("language", default=LANGUAGES[0])
_FILE = Path(__file__).resolve().parent / "texts.toml"


@contextmanager
def in_language(language: str) -> Iterator[None]:
    """Make `text` answer in one of LANGUAGES within the block."""
    assert language in LANGUAGES, f"language {language}, expected one of {LANGUAGES}"
    token = _LANGUAGE.set(language)
    try:
        yield
    finally:
        _LANGUAGE.reset(token)


def language() -> str:
    """Return the language in force."""
    return _LANGUAGE.get()


def text(key: str, **values: object) -> str:
    """Return a text in the language in force, its {names} replaced by `values`. Raises KeyError for an unknown key.

    >>> text("state.pass")
    'pass'
    >>> with in_language("zh"):
    ...     text("metric.p_core")
    '计算吞吐量'
    """
    found = texts()[key][_LANGUAGE.get()]
    return found.format(**values) if values else found


@functools.lru_cache(maxsize=None)
def texts() -> Mapping[str, Mapping[str, str]]:
    """Return every text by its key ("section.name") and language."""
    sections = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {f"{section}.{name}": both for section, names in sections.items() for name, both in names.items()}
