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
_FETCH = "it may be packed, cut off or another file: put COCO's instances_*.json there as UTF-8 text"
_NEAR = 40  # characters shown before and after what is wrong


def read_json(file: Path, *, keep_segmentations: bool = False) -> Any:
    """Returns the content of a JSON file, which may begin with a byte order mark and may be compressed by gzip.

    Unless segmentations are to be kept, annotations come without them. Raises DataError.
    """
    try:
        with open(file, "rb") as raw:
            stream: Any = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == _GZIP else raw
            if stream.peek(len(_BOM)).startswith(_BOM):
                stream.read(len(_BOM))
            content = json.loads(_text_in(stream, without_polygons=not keep_segmentations))
    except UnicodeDecodeError as error:
        found = error.object[max(0, error.start - _NEAR) : error.start + _NEAR]
        raise DataError(f"{file}: not JSON, but other bytes than UTF-8 text near {found!r}; {_FETCH}") from error
    except json.JSONDecodeError as error:
        near = error.doc[max(0, error.pos - _NEAR) : error.pos + _NEAR]
        raise DataError(f"{file}: not valid JSON: {error.msg} near {near!r}; {_FETCH}") from error
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
