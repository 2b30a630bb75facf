"""Text from outside as Markdown that shows it and does nothing else, and back; the forms in which it is compared."""

from __future__ import annotations

import re

# Control characters, breaks that no reader sees, changes of direction, what has no width, halves of characters.
_UNSAFE = "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\uffff"
_IS_UNSAFE = re.compile(f"[{_UNSAFE}]")
_MARKS = frozenset("\\`*_[]|~$")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_BY_NAME = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "nbsp": "\xa0"}
_WRITTEN = re.compile(
    r"\\(?P<mark>[!-/:-@\[-`{-~])"
    r"|\\x(?P<two>[0-9a-f]{2})|\\u(?P<four>[0-9a-f]{4})"
    r"|&#(?P<decimal>[0-9]{1,7});|&#[xX](?P<hex>[0-9a-fA-F]{1,6});"
    r"|&(?P<name>amp|lt|gt|quot|nbsp);"
)
_EMPHASIS = ("**", "__", "*", "_", "`")

# One for one, so that columns stay what they are.
_FULL_WIDTH = str.maketrans("｜：，（）／％＝；．－　\xa0\t", "|:,()/%=;.-   ")


def visible(text: str) -> str:
    """`text` with what cannot be shown written out as `\\x0a` or `\\u2028`; for messages and comments, one line."""
    return _IS_UNSAFE.sub(_escape, text)


def quoted(text: str) -> str:
    """`text` as Markdown shows it in a table's cell or a list's item: no markup, no HTML, no link, no line break.

    What cannot stand there is written out visibly; `unquoted` gives the text back.
    """
    return "".join(_quoted_at(text, position) for position in range(len(text)))


def unquoted(text: str) -> str:
    """The text that a piece of Markdown without emphasis shows: what `quoted` was given."""
    return _WRITTEN.sub(_read_back, text)


def without_emphasis(text: str) -> str:
    """`text` less the bold, italics or code marks that enclose all of it."""
    text = text.strip()
    for mark in _EMPHASIS:
        inner = text[len(mark) : -len(mark)]
        if text.startswith(mark) and text.endswith(mark) and inner and mark not in inner and inner[-1] != "\\":
            return without_emphasis(inner)
    return text


def shown(text: str) -> str:
    """What a reader sees of a cell or an item, spaces at the ends aside."""
    return unquoted(without_emphasis(text))


def reading_form(text: str) -> str:
    """`text` with full-width punctuation and odd spaces as ASCII has them, each character in its place."""
    return text.translate(_FULL_WIDTH)


def one_line(text: str) -> str:
    """`text` as a device file keeps it: each run of spaces is one."""
    return " ".join(text.split())


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _quoted_at(text: str, position: int) -> str:
    one = text[position]
    before, after = text[position - 1 : position], text[position + 1 : position + 2]
    if _IS_UNSAFE.match(one):
        return visible(one)
    if one in _NAMED:
        return _NAMED[one]
    if one == "_" and before.isalnum() and after.isalnum():
        return one  # within a word it is a letter
    if one in _MARKS:
        return f"\\{one}"
    # Spaces that a reader of tables would take off; pipes of the other width; what becomes a link of itself.
    lost = one.isspace() and (one != " " or not before or not after or before == " ")
    link = (
        one == "@"
        or (one == ":" and after == "/")
        or (one == "." and text[max(0, position - 3) : position].lower() == "www")
    )
    return f"&#{ord(one)};" if lost or link or one == "｜" else one


def _read_back(match: re.Match[str]) -> str:
    if match["mark"]:
        return match["mark"]
    if match["name"]:
        return _BY_NAME[match["name"]]
    if match["decimal"] or match["hex"]:
        code = int(match["decimal"]) if match["decimal"] else int(match["hex"], 16)
        return chr(code) if 0 < code <= 0x10FFFF else match.group()
    one = chr(int(match["two"] or match["four"], 16))
    # Only what `quoted` writes so; \x41 is somebody's own.
    return one if _IS_UNSAFE.match(one) else match.group()
