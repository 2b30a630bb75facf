"""Escapes foreign text for Markdown and reads it back; normalises it for comparison; finds footnote marks in it."""

from __future__ import annotations

import re

from evidence.text import is_unsafe, visible

_MARKUP = frozenset("\\`*_[]|~$")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_BY_NAME = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "nbsp": "\xa0"}
_WRITTEN = re.compile(
    r"\\(?P<mark>[!-/:-@\[-`{-~])"
    r"|\\x(?P<two>[0-9a-f]{2})|\\u(?P<four>[0-9a-f]{4})|\\U(?P<eight>00[01][0-9a-f]{5})"
    r"|&#(?P<decimal>[0-9]{1,7});|&#[xX](?P<hex>[0-9a-fA-F]{1,6});"
    r"|&(?P<name>amp|lt|gt|quot|nbsp);"
)
_EMPHASIS = ("**", "__", "*", "_", "`")

# One for one, so that columns stay what they are.
_FULL_WIDTH = str.maketrans("｜：，（）／％＝；．－　\xa0\t", "|:,()/%=;.-   ")

_MARK = re.compile(
    r"(?<!\\)~~+"
    r"|(?<!\\)\[\^?[0-9A-Za-z*†‡]{1,3}\](?![(:])"
    r"|</?(?:sup|sub|del|s|strike|ins)\b[^>]*>"
    r"|[†‡※¹²³⁰⁴-⁹①-⑳]"
    r"|(?<![\\*])\*+$",
    re.IGNORECASE,
)
"""Footnote marks and strike-throughs; characters behind a backslash are none."""
_ESTIMATE = re.compile(
    r"估算值?|估计值?|预估|预计|推算|外推|理论值|未跑完|未完成|作废"
    r"|estimat|extrapolat|projected|predicted|not measured",
    re.IGNORECASE,
)


def quoted(text: str) -> str:
    """Return `text` escaped for a table's cell or a list item: no markup, HTML, link or line break.

    Invisible characters are written as by `evidence.text.visible`; `unquoted` is the inverse.
    """
    return "".join(_quoted_at(text, position) for position in range(len(text)))


def unquoted(text: str) -> str:
    """Return the text that a piece of Markdown without emphasis shows; the inverse of `quoted`."""
    return _WRITTEN.sub(_read_back, text)


def without_emphasis(text: str) -> str:
    """Return `text` without bold, italics or code marks around the whole of it."""
    text = text.strip()
    for mark in _EMPHASIS:
        inner = text[len(mark) : -len(mark)]
        if text.startswith(mark) and text.endswith(mark) and inner and mark not in inner and inner[-1] != "\\":
            return without_emphasis(inner)
    return text


def shown(text: str) -> str:
    """Return the text that a reader sees of a cell or an item, stripped."""
    return unquoted(without_emphasis(text))


def reading_form(text: str) -> str:
    """Return `text` with full-width punctuation and other spaces as ASCII, of the same length."""
    return text.translate(_FULL_WIDTH)


def one_line(text: str) -> str:
    """Return `text` with each run of white space as one space."""
    return " ".join(text.split())


def mark_in(text: str) -> str:
    """Return the first footnote mark or strike-through in a piece of Markdown without emphasis; "" for none.

    Characters behind a backslash are no marks.

    >>> mark_in("R300[1]"), mark_in("R300+")
    ('[1]', '')
    """
    found = _MARK.search(text)
    return found.group() if found else ""


def restriction_in(text: str) -> str:
    """Return a mark as `mark_in` does, or a word that takes the number beside it back: "估算值", "estimated"."""
    found = _ESTIMATE.search(text)
    return mark_in(text) or (found.group() if found else "")


def without_marks(text: str) -> str:
    """Return `text` without footnote marks and strike-throughs."""
    return _MARK.sub("", text).strip()


def _quoted_at(text: str, position: int) -> str:
    one = text[position]
    before, after = text[position - 1 : position], text[position + 1 : position + 2]
    if is_unsafe(one):
        return visible(one)
    if one in _NAMED:
        return _NAMED[one]
    if one == "_" and before.isalnum() and after.isalnum():
        return one  # no markup within a word
    if one in _MARKUP:
        return f"\\{one}"
    # Spaces that a table reader would strip, full-width pipes, and characters that make an automatic link.
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
    code = int(match["two"] or match["four"] or match["eight"], 16)
    # Only characters that `quoted` escapes; \x41 stays as it is.
    return chr(code) if code <= 0x10FFFF and is_unsafe(chr(code)) else match.group()
