"""Reads the JSON of an annotation file piece by piece, so that its text is never in memory as a whole."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Sequence, cast

from trainer.errors import DataError

LISTS = ("images", "annotations", "categories")
"""The lists of a COCO file, read some entries at a time."""

_PIECE = 2**23
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_OUTLINE = b'"segmentation"'
_POLYGONS = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*\[[-+0-9eE.,\[\] \t\r\n]*\]")
_SPACE = re.compile(r"[ \t\r\n]*")
_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_HEAD = 512

_UTF_16 = "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8"
_ARCHIVE = "archive; unpack it and put the JSON file in its place"
# Beginnings of files that stand where an annotation file should.
_KINDS = (
    (b"\xff\xfe\0\0", "UTF-32 text; convert it: iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", _UTF_16),
    (b"\xfe\xff", _UTF_16),
    (b"{\0", _UTF_16.replace("UTF-16 -t", "UTF-16LE -t")),
    (b"\0{", _UTF_16.replace("UTF-16 -t", "UTF-16BE -t")),
    (b"version https://git-lfs", "a pointer of git-lfs, not the file that it stands for; fetch that: git lfs pull"),
    (b"PK\x03\x04", f"a zip {_ARCHIVE}"),
    (b"BZh", f"a bzip2 {_ARCHIVE}"),
    (b"\xfd7zXZ\0", f"an xz {_ARCHIVE}"),
    (b"\x28\xb5\x2f\xfd", f"a zstd {_ARCHIVE}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z {_ARCHIVE}"),
    (b"<?xml", "an XML document, such as a server's refusal or boxes in VOC's format; use COCO's instances_*.json"),
    (b"<", "an HTML page, such as a server's refusal or a form to log in; open it in a browser, then fetch the file"),
)


def read_json(file: Path, *, keep_segmentations: bool = False, only: Sequence[str] = LISTS) -> Any:
    """Returns the content of a JSON file, which may begin with a byte order mark and may be compressed by gzip.

    Annotations come without their segmentations, unless these are to be kept: polygons are cut out before they are
    parsed. Of LISTS those that are not among `only` come empty. Raises DataError, which says what the file is if it is
    no JSON.
    """
    try:
        with open(file, "rb") as raw:
            stream: Any = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == _GZIP else raw
            head = stream.peek(_HEAD)[:_HEAD]
            _refuse(file, head)
            if head.startswith(_BOM):
                stream.read(len(_BOM))
            return _Reader(stream, not keep_segmentations, only).document()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not JSON: {_place_of_byte(file, error)}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: not valid JSON: {_place_of(file, error)}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of thousands of digits
        raise DataError(f"{file}: not an annotation file: {error}; fetch it again") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file}: is compressed by gzip, and cut off or damaged: {error}; fetch it again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def _refuse(file: Path, head: bytes) -> None:
    """Raise DataError if the first bytes are those of something else."""
    start = head.lstrip(b" \t\r\n")
    if not start:
        raise DataError(f"{file}: is empty; fetch it again")
    if not head.strip(b"\0"):
        raise DataError(f"{file}: begins with {len(head)} zero bytes: its transfer was not finished; fetch it again")
    if head[257:262] == b"ustar":
        raise DataError(f"{file}: is a tar {_ARCHIVE}")
    for beginning, kind in _KINDS:
        if start.startswith(beginning):
            raise DataError(f"{file}: is {kind}")


def _text_of(file: Path) -> str:
    content = file.read_bytes()
    content = gzip.decompress(content) if content.startswith(_GZIP) else content
    return content.decode("utf-8-sig")


def _place_of(file: Path, error: json.JSONDecodeError) -> str:
    """Say where the file is no JSON: found by parsing it as a whole, since `error` is of a piece."""
    try:
        text = _text_of(file)
        json.loads(text)
    except json.JSONDecodeError as exact:
        place = f"{exact.msg} at line {exact.lineno}, column {exact.colno} (of {len(text)} characters)"
        if exact.msg.startswith("Extra data"):
            return f"{place}; it holds more than one value, as a file of JSON lines does: use COCO's instances_*.json"
        # A text that was cut off is at fault where it ends, or where its last string begins.
        if exact.pos >= len(text.rstrip()) or exact.msg.startswith("Unterminated string"):
            return f"{place}; it may be cut off: fetch it again"
        return f"{place}; correct it there, or fetch it again"
    except (OSError, ValueError, EOFError):
        pass
    return f"{error.msg}; fetch it again"


def _place_of_byte(file: Path, error: UnicodeDecodeError) -> str:
    shown = error.object[error.start : error.start + 1]
    try:
        _text_of(file)
    except UnicodeDecodeError as exact:
        return f"byte {exact.start} is not UTF-8 text: {shown!r}; save the file as UTF-8, or fetch it again"
    except (OSError, ValueError, EOFError):
        pass
    return f"{shown!r} is not UTF-8 text; save the file as UTF-8, or fetch it again"


class _Reader:
    """Parses one JSON value from a stream of bytes."""

    def __init__(self, stream: BinaryIO, without_segmentations: bool, only: Sequence[str]) -> None:
        self._stream = stream
        self._cuts = without_segmentations
        self._only = only
        self._decode = json.JSONDecoder().raw_decode
        self._raw = b""
        self._text = ""
        self._at = 0
        self._ended = False
        self._pieces = 0

    def document(self) -> Any:
        """The value of the whole stream. Raises JSONDecodeError and other ValueErrors."""
        value = self._object() if self._next() == "{" else self._value()
        if self._next():
            raise self._error("Extra data")
        return value

    def _object(self) -> dict[str, Any]:
        content: dict[str, Any] = {}
        self._at += 1
        if self._next() == "}":
            self._at += 1
            return content
        while True:
            if self._next() != '"':
                raise self._error("Expecting property name enclosed in double quotes")
            key = cast(str, self._value())
            if self._next() != ":":
                raise self._error("Expecting ':' delimiter")
            self._at += 1
            listed = self._next() == "[" and key in LISTS
            content[key] = self._elements(key in self._only) if listed else self._value()
            sign = self._next()
            self._at += 1
            if sign == "}":
                return content
            if sign != ",":
                raise self._error("Expecting ',' delimiter")

    def _elements(self, wanted: bool) -> list[Any]:
        """The list that begins here, without segmentations."""
        found: list[Any] = []
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return found
        while True:
            self._next()
            part = self._some()
            if self._cuts:
                for one in part:
                    if type(one) is dict:
                        one.pop("segmentation", None)
            found += part if wanted else ()
            sign = self._next()
            self._at += 1
            if sign == "]":
                return found
            if sign != ",":
                raise self._error("Expecting ',' delimiter")

    def _some(self) -> list[Any]:
        """The next elements of a list, one or more: all that the text has, in one call of the parser, if it can be."""
        end = self._text.rfind("}", self._at) + 1
        if end > self._at:
            try:
                part, stop = self._decode(f"[{self._text[self._at : end]}]")
            except ValueError:
                pass  # the last brace is within an element, or this is no JSON
            else:
                # At the list's own bracket if that came first, else at `end`.
                self._at += stop - 2
                if not part:
                    raise self._error("Expecting value")
                return cast("list[Any]", part)
        pieces = self._pieces
        part = [self._value()]
        while self._pieces == pieces:
            comma = _COMMA.match(self._text, self._at)
            if comma is None:
                break
            try:
                one, stop = self._decode(self._text, comma.end())
            except ValueError:
                break
            if stop == len(self._text):
                break  # a number may go on
            part.append(one)
            self._at = stop
        return part

    def _value(self) -> Any:
        while True:
            try:
                value, stop = self._decode(self._text, self._at)
            except json.JSONDecodeError:
                if not self._more():
                    raise
                continue
            if stop < len(self._text) or not self._more():  # a number may go on
                self._at = stop
                return value

    def _next(self) -> str:
        """The next character that is no white space, which it goes to; "" at the end."""
        while True:
            self._at = cast("re.Match[str]", _SPACE.match(self._text, self._at)).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Take another piece of the stream, and give up the text before this place; return whether there is any."""
        # As much again as is waiting: a value that is long is parsed anew with each piece.
        wanted = max(_PIECE, len(self._text) - self._at)
        raw, end = self._raw, 0
        while not self._ended and not end:
            piece = self._stream.read(max(wanted, len(raw)))
            self._ended = not piece
            # Behind a brace no polygon and no character is cut in two.
            end = piece.rfind(b"}") + 1
            end += len(raw) if end else 0
            raw += piece
        if self._ended:
            end = len(raw)
        if not end:
            return False
        piece, self._raw = raw[:end], raw[end:]
        self._text = self._text[self._at :] + (_without_polygons(piece) if self._cuts else piece).decode("utf-8")
        self._at = 0
        self._pieces += 1
        return True

    def _error(self, message: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, min(self._at, len(self._text)))


def _without_polygons(piece: bytes) -> bytes:
    """Return the text with a 0 in place of every value of "segmentation" that is a list of nothing but numbers."""
    first, *rest = piece.split(_OUTLINE)
    parts = [first]
    for one in rest:
        parts.append(_OUTLINE)
        found = None if parts[-2].endswith(b"\\") else _POLYGONS.match(one)  # in a string, a quote is escaped
        if found is None:
            parts.append(one)
        else:
            parts += (b":0", one[found.end() :])
    return b"".join(parts)
