"""Escapes for text from outside, so that a terminal, XML, HTML, Markdown or a database can carry it on one line."""

from __future__ import annotations

import re
import unicodedata

_UNSAFE_CATEGORIES = frozenset(("Cc", "Cf", "Cn", "Cs", "Zl", "Zp"))
"""Control characters, format characters (zero width, change of direction), unassigned ones, lone surrogates, and line
and paragraph separators: https://www.unicode.org/reports/tr44/#General_Category_Values"""

_ESCAPE = r"x([0-9a-f]{2})|u([0-9a-f]{4})|U(00(?:0[0-9a-f]|10)[0-9a-f]{4})"
_LOOKS_ESCAPED = re.compile(rf"\\(?={_ESCAPE})")
_ESCAPED = re.compile(rf"\\(?:{_ESCAPE})")


def is_unsafe(character: str) -> bool:
    """Return whether a character is written as an escape by `visible`."""
    return unicodedata.category(character) in _UNSAFE_CATEGORIES


def visible(text: str) -> str:
    r"""Return `text` with each unsafe character written as in a Python string: a line break as \x0a.

    `as_it_was` gives the text back: a backslash that would be read as the beginning of an escape becomes one itself.

    >>> print(visible("rank 0\nok"))
    rank 0\x0aok
    """
    if "\\" in text:
        text = _LOOKS_ESCAPED.sub(r"\\x5c", text)
    return text if text.isprintable() else "".join(_escape(one) if is_unsafe(one) else one for one in text)


def as_it_was(text: str) -> str:
    """Return what `visible` was given."""
    return _ESCAPED.sub(lambda match: chr(int(match.group(match.lastindex or 0), 16)), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
