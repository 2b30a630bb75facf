"""Text from outside, made safe to show: what a terminal, XML or a database cannot carry becomes a visible escape."""

from __future__ import annotations

import re

# Besides control characters: what breaks lines where a reader sees none, turns the direction of what follows, is half
# of a character (file names that are not UTF-8 come as such), or is no character at all.
_UNSAFE = "\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff"
_TO_ESCAPE = re.compile(f"[{_UNSAFE}]|\\\\(?=x[0-9a-f]{{2}}|u[0-9a-f]{{4}})")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})")


def visible(text: str) -> str:
    """Return `text` with each such character as Python writes it: a line break as \\x0a, half a character as \\udc80.

    `as_it_was` gives the text back: a backslash that would be read as the beginning of an escape becomes one itself.
    """
    return _TO_ESCAPE.sub(lambda match: _escape(match.group()), text)


def as_it_was(text: str) -> str:
    """Return what `visible` was given."""
    return _ESCAPED.sub(lambda match: chr(int(match.group(1) or match.group(2), 16)), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
