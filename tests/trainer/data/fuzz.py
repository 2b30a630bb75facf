"""Annotation files with all that files from the wild have, at random: read as json reads them, or refused by name.

`python -m tests.trainer.data.fuzz --minutes 10` tries them until the time is over; a fault ends it and shows the file.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from tests.trainer.data.sample import box, good, image
from trainer.data import annotations, json_stream
from trainer.data.annotations import read_annotations
from trainer.data.coco import CocoIndex, make_index, require_agreement, require_sides
from trainer.errors import DataError

_SPLIT, _CLASSES = "train2017", 6
_NAMES = (
    "\ud800.jpg",
    "caf\udce9.jpg",
    "\u56fe.jpg",
    "e\u0301.jpg",
    "\U0001f600.jpg",
    "a b.JPG",
    "x" * 255,
    "../x.jpg",
    "a\0",
    "",
    ".",
)
_IDS = (0, 1, 2, 3, 7, 12, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64, -1, 1.0, True, "7", None)
_NUMBERS = (0, 0.0, 1e-7, 1e-6, 1e-300, 0.5, 1, 20, 47.999999, 48, 63.99999, 64, 1e7, 1e8, 1e300, 10**400, -1, -1e-9)
_STRANGE = (
    float("nan"),
    float("inf"),
    None,
    True,
    "1",
    [],
    {},
    [[1.5, 2]],
    "\U0001f600",
    "\ud800",
    '"',
    "]}",
    "segmentation",
)
_OUTLINES = (
    [[1, 2.5, 3e2, 4]],
    [],
    [[]],
    {"counts": [1, 2], "size": [48, 64]},
    {"counts": "a}b]", "size": [1, 1]},
    None,
)
_PIECES = (1, 3, 17, 64, 500, 2**23)
_HEADS = (
    b"\xef\xbb\xbf",
    b" \n",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\0",
    b"<html>",
    b"version https://git-lfs",
    b"PK\x03\x04",
    b"[",
    b"1",
)


def generated(chance: random.Random) -> Any:
    """The content of a sound file, more or less: some images and annotations of every kind."""
    content = good()
    for number in range(chance.randrange(4)):
        content["images"].append(image(100 + number, chance.randrange(1, 3000), chance.choice((1, 2, 48, 600))))
        wanted = chance.randrange(4)
        for place in range(wanted):
            xywh = tuple(chance.choice((chance.uniform(0, 60), *_NUMBERS[:10])) for _ in range(4))
            outline = chance.choice(_OUTLINES)
            content["annotations"].append(
                box(10 * number + place + 20, 100 + number, xywh, segmentation=outline, iscrowd=chance.randrange(2))
            )
    if chance.random() < 0.3:
        content["info"] = {"title": chance.choice(_STRANGE), "notes": ["}", "]", '"segmentation": [[1, 2]]']}
    return content


def _number(chance: random.Random, content: Any) -> None:
    """Another id at an entry, and at all that refers to it."""
    part, key = chance.choice((("images", "image_id"), ("categories", "category_id"), ("annotations", "")))
    entry, new = chance.choice(content[part]), chance.choice(_IDS)
    old, entry["id"] = entry.get("id"), new
    for one in content["annotations"]:
        if isinstance(one, dict) and key and one.get(key) == old:
            one[key] = new


def _value(chance: random.Random, content: Any) -> None:
    entry = chance.choice(content[chance.choice(("images", "annotations", "categories"))])
    if isinstance(entry, dict) and entry:
        entry[chance.choice([*entry])] = copy.deepcopy(chance.choice((*_STRANGE, *_IDS, *_NUMBERS)))


def _box(chance: random.Random, content: Any) -> None:
    chance.choice(content["annotations"])["bbox"][chance.randrange(4)] = chance.choice((*_NUMBERS, *_STRANGE[:5]))


def _name(chance: random.Random, content: Any) -> None:
    chance.choice(content["images"])["file_name"] = chance.choice(_NAMES)


def _category(chance: random.Random, content: Any) -> None:
    chance.choice(content["categories"])["name"] = chance.choice(("one", "two", "three", "", None, 3, "ONE ", "four\0"))


def _drop(chance: random.Random, content: Any) -> None:
    entries = content[chance.choice(("images", "annotations", "categories"))]
    chance.choice((entries.pop, lambda: entries.append(copy.deepcopy(entries[0])), lambda: entries[0].popitem()))()


def _part(chance: random.Random, content: Any) -> None:
    content[chance.choice(("images", "annotations", "categories"))] = copy.deepcopy(chance.choice(_STRANGE))


CHANGES: tuple[Callable[[random.Random, Any], None], ...] = (
    _number,
    _number,
    _value,
    _box,
    _box,
    _name,
    _category,
    _drop,
    _part,
)


def damaged(chance: random.Random, raw: bytes) -> bytes:
    """The bytes with one thing wrong, or packed."""
    place, end = (chance.randrange(len(raw) + 1) for _ in range(2))
    kind = chance.randrange(9)
    if kind == 0:
        return raw[:place]
    if kind == 1:
        return raw[:place] + bytes([chance.randrange(256)]) + raw[place:]
    if kind == 2:
        return raw[:place] + raw[place + 1 :]
    if kind == 3:
        return raw[: min(place, end)] + raw[max(place, end) :]
    if kind == 4:
        return chance.choice(_HEADS) + raw
    if kind == 5:
        packed = gzip.compress(raw, 1, mtime=0)
        return packed if chance.random() < 0.5 else packed[: chance.randrange(len(packed))]
    if kind == 6:
        return raw.decode("utf-8", "replace").encode(chance.choice(("utf-16", "utf-16-le", "utf-32", "gbk")), "replace")
    if kind == 7:
        return raw + chance.choice((raw, b"\n", b"\0", b"}", b"// end"))
    return raw.replace(b": ", chance.choice((b":", b" \r\n: \t", b" ")), chance.randrange(1, 99))


def expected_of(raw: bytes) -> Any:
    """What json finds in it, an exception if it finds nothing."""
    raw = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    return json.loads(raw.decode("utf-8-sig"))


def _plain(value: Any) -> str:
    """To compare: without outlines, and NaN equal to itself."""
    if isinstance(value, dict):
        return repr({key: _plain(one) for key, one in value.items() if key != "segmentation"})
    return repr([_plain(one) for one in value]) if isinstance(value, list) else repr(value)


def try_one(raw: bytes, root: Path, piece: int) -> str:
    """The outcome of a file; AssertionError where it is one that may not be."""
    file = root / "annotations" / f"instances_{_SPLIT}.json"
    file.write_bytes(raw)
    json_stream._PIECE = piece
    try:
        expected, is_json = expected_of(raw), True
    except (ValueError, RecursionError, OSError, EOFError):
        expected, is_json = None, False
    if is_json:
        _make_pictures(root / _SPLIT, expected)
    outcomes = []
    for at_once in (annotations._are_sound, lambda *_: False):
        kept, annotations._are_sound = annotations._are_sound, at_once
        try:
            outcomes.append(read_annotations(root, _SPLIT, num_classes=_CLASSES))
        except DataError as error:
            outcomes.append(str(error))
        finally:
            annotations._are_sound = kept
    found, one_by_one = outcomes
    assert _plain(found) == _plain(one_by_one), "checks of whole columns and of single annotations differ"
    if isinstance(found, str):
        assert file.name in found, found
        found.encode("utf-8")
        return "refused" if is_json else "refused, no JSON"
    # What is no JSON within a polygon is not seen, since polygons are not read.
    assert not is_json or _plain(found) == _plain(expected), "content differs from json's"
    return _try_index(found, file, root)


def _try_index(content: Any, file: Path, root: Path) -> str:
    try:
        train, val = (make_index(content, file, _SPLIT, training=training) for training in (True, False))
    except DataError:
        return "no box is left"
    require_agreement(root, train, val)
    try:
        require_sides(root, train, 800, 1333)
    except DataError:
        return "too narrow"
    _check(train, content)
    _check(val, content)
    return "read"


def _check(index: CocoIndex, content: Any) -> None:
    assert index.image_ids.tolist() == sorted(set(index.image_ids.tolist()))
    assert set(index.image_ids.tolist()) <= {one["id"] for one in content["images"]}
    names = {one["id"]: one["file_name"] for one in content["images"]}
    assert [names[number] for number in index.image_ids.tolist()] == index.file_names.tolist()
    for place in range(len(index)):
        boxes, _ = index.boxes_of(place)
        width = np.float32(index.widths[place])
        for corners in (boxes[:, [0, 2]], width - boxes[:, [2, 0]]):
            for ratio in np.array([800, 1333, 96, 32], dtype=np.float32) / width:
                assert (corners[:, 1] > corners[:, 0]).all()
                assert ((corners * ratio)[:, 1] > (corners * ratio)[:, 0]).all()
    truth = index.ground_truth
    if truth is not None:
        assert truth.numbered().image_of.tolist() == [
            1 + truth.image_ids.tolist().index(one["image_id"]) for one in content["annotations"]
        ]
        assert 0 not in truth.numbered().ids


def _make_pictures(folder: Path, content: Any) -> None:
    entries = content.get("images") if isinstance(content, dict) else None
    for one in entries if isinstance(entries, list) else []:
        name = one.get("file_name") if isinstance(one, dict) else None
        if isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\0"):
            try:
                os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))
            except (OSError, UnicodeEncodeError):
                continue


def main(argv: Sequence[str] | None = None) -> int:
    """Try files until the time is over; the closing line counts them by outcome."""
    parser = argparse.ArgumentParser(description="Fuzz the reader of annotation files.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=sys.maxsize, help="stop after so many")
    arguments = parser.parse_args(argv)
    chance = random.Random(arguments.seed)
    outcomes: Counter[str] = Counter()
    end_s = time.monotonic() + 60 * arguments.minutes
    before = json_stream._PIECE
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "annotations").mkdir()
        (Path(name) / _SPLIT).mkdir()
        while time.monotonic() < end_s and sum(outcomes.values()) < arguments.files:
            raw, piece = _made(chance), chance.choice(_PIECES)
            try:
                outcomes[try_one(raw, Path(name), piece)] += 1
            except BaseException:
                print(f"after {sum(outcomes.values())} files of seed {arguments.seed}:\n{raw!r}", file=sys.stderr)
                raise
            finally:
                json_stream._PIECE = before
    found = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    print(f"{sum(outcomes.values())} files, no fault: {found}")
    return 0


def _made(chance: random.Random) -> bytes:
    content = generated(chance)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
        try:
            chance.choice(CHANGES)(chance, content)
        except (LookupError, TypeError, AttributeError):
            continue  # what it would have changed was changed before
    text = json.dumps(content, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, None, 1)))
    raw = text.encode("utf-8", "replace" if chance.random() < 0.5 else "surrogateescape" if _fits(text) else "replace")
    return damaged(chance, raw) if chance.random() < 0.4 else raw


def _fits(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
