"""Reads the JSON of an annotation file without its polygons, which are cut out before anything is parsed."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from trainer.errors import DataError

_PIECE = 2**23
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_OUTLINE = b'"segmentation"'
_POLYGONS = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*\[[-+0-9eE.,\[\] \t\r\n]*\]")
_WIDE = re.compile(r"(?<!\\)[^\x00-\x7f]")
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


def read_json(file: Path, *, keep_segmentations: bool = False) -> Any:
    """Returns the content of a JSON file, which may begin with a byte order mark and may be compressed by gzip.

    Unless segmentations are to be kept, annotations come without them. Raises DataError, which says what the file is if
    it is no JSON.
    """
    try:
        with open(file, "rb") as raw:
            stream: Any = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == _GZIP else raw
            head = stream.peek(_HEAD)[:_HEAD]
            _refuse(file, head)
            if head.startswith(_BOM):
                stream.read(len(_BOM))
            content = json.loads(_text_in(stream, without_polygons=not keep_segmentations))
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
    if not keep_segmentations and isinstance(content, dict) and isinstance(content.get("annotations"), list):
        for one in content["annotations"]:
            if isinstance(one, dict):
                one.pop("segmentation", None)
    return content


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
    """Say where the file is no JSON: found by parsing it as it is, since `error` is of the text without polygons."""
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


def _text_in(stream: BinaryIO, *, without_polygons: bool) -> str:
    """Return the rest of a stream as text, in ASCII as far as JSON allows: one emoji makes a text four times as large.

    Pieces end behind a brace, where neither a polygon nor a character is cut in two.
    """
    pieces, rest, ended = [], b"", False
    while not ended:
        read = stream.read(max(_PIECE, len(rest)))
        ended = not read
        end = len(rest) if ended else len(rest) + read.rfind(b"}") + 1 if b"}" in read else 0
        rest += read
        piece, rest = (rest[:end], rest[end:]) if end else (b"", rest)
        text = (_without_polygons(piece) if without_polygons else piece).decode("utf-8")
        pieces.append(text if text.isascii() else _WIDE.sub(lambda found: json.dumps(found.group())[1:-1], text))
    return "".join(pieces)


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
