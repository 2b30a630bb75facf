"""Reads and validates a COCO annotation file; errors name the file and the id."""

from __future__ import annotations

import contextlib
import math
import os
import unicodedata
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

import numpy as np

from trainer.data.json_stream import read_json
from trainer.errors import DataError

Sizes = Dict[int, Tuple[int, int]]
"""Width and height in pixels, by image id."""

_IMAGE_KEYS = ("id", "file_name", "width", "height")
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
_LARGEST_ID = 2**63 - 1
_LARGEST_COORDINATE = 1e7  # beyond it float32 no longer counts single pixels
_LARGEST_SIDE = 2**31 - 1
_SHOWN = 3
_ENCODINGS = ("latin-1", "gbk", "big5", "shift_jis", "euc_kr", "cp437", "cp1251")  # of names in archives

# What only the annotations of other files of COCO's layout have.
_OTHERS = (
    ("segments_info", "panoptic segments (panoptic_*.json)"),
    ("caption", "captions (captions_*.json)"),
    ("question", "questions"),
)


def annotation_file(root: Path, split: str) -> Path:
    """Where COCO keeps the boxes of a split ("train2017" or "val2017")."""
    return root / "annotations" / f"instances_{split}.json"


def find_annotations(root: Path, split: str) -> Path:
    """Returns `annotation_file` if it and COCO's folders exist. Raises DataError."""
    folder, file = root / split, annotation_file(root, split)
    if not root.is_dir():
        raise DataError(f"data folder {root} does not exist; it should be COCO's root, with {split}/ and annotations/")
    if not folder.is_dir():
        raise DataError(f"data folder {root} has no {split}/; unpack the images of {split} there")
    if file.exists() and not file.is_file():
        raise DataError(f"annotation file {file} is not a plain file; put COCO's JSON file there")
    if not file.is_file():
        packed = [one.name for one in sorted(file.parent.glob(f"{file.name}.*"))]
        there = f"; {packed[0]} is there: unpack it (gzip's may be named .json as it is)" if packed else ""
        raise DataError(f"annotation file {file} does not exist{there}; unpack COCO's annotations into {root}")
    return file


def read_annotations(root: Path, split: str, *, num_classes: int, keep_segmentations: bool = False) -> dict[str, Any]:
    """Returns the split's annotation file, parsed and validated.

    Segmentations, which are most of it, are dropped while parsing unless they are to be kept; they are not validated.
    Raises DataError, naming file and id, for missing folders and files, for invalid content, and for listed images that
    are not in the split's folder.
    """
    file = find_annotations(root, split)
    content = _parse(file, keep_segmentations)
    sizes = _check_images(file, content["images"])
    categories = _check_categories(file, content["categories"], num_classes)
    _check_annotations(file, content["annotations"], sizes, categories)
    check_present(file, root / split, [(image["id"], image["file_name"]) for image in content["images"]])
    return content


def _parse(file: Path, keep_segmentations: bool = False) -> dict[str, Any]:
    """The file as an object with lists under `images`, `annotations` and `categories`."""
    content = read_json(file, keep_segmentations=keep_segmentations)
    if not isinstance(content, dict):
        raise DataError(
            f"{file}: found {_kind(content)}, expected an object with images, annotations and categories; "
            f"{_another(content)}use COCO's instances_*.json"
        )
    for key in ("images", "annotations", "categories"):
        if key not in content:
            raise DataError(
                f"{file}: has no {key!r}, found {sorted(content)[:8]}; {_another(content)}use COCO's instances_*.json"
            )
        if not isinstance(content[key], list):
            raise DataError(f"{file}: {key!r} is {_kind(content[key])}, expected a list; use COCO's instances_*.json")
    return content


def _another(content: Any) -> str:
    """Say which other file of COCO's layout it looks like, to end in "; "; "" if none."""
    entries = content.get("annotations", []) if isinstance(content, dict) else content
    first = entries[0] if isinstance(entries, list) and entries else None
    if isinstance(first, dict) and not isinstance(content, dict) and "score" in first:
        return "it is a file of detections; "
    for key, kind in _OTHERS:
        if isinstance(first, dict) and key in first and "bbox" not in first:
            return f"it is a file of {kind}; "
    return "it is a list of pictures without boxes; " if isinstance(content, dict) and "images" in content else ""


def _check_images(file: Path, images: list[Any]) -> Sizes:
    if not images:
        raise DataError(f"{file}: lists no images; an empty data set can neither train nor be scored")
    sizes: Sizes = {}
    for place, image in enumerate(images):
        _check_keys(file, f"images[{place}]", image, _IMAGE_KEYS)
        image_id, name = _id_of(file, f"images[{place}]", image, "id"), image["file_name"]
        where = f"image {image_id}"
        if image_id in sizes:
            raise DataError(f"{file}: {where} is listed twice, again at images[{place}]; image ids must be unique")
        if not isinstance(name, str) or not name or name in (".", "..") or any(c in name for c in "/\\\0"):
            raise DataError(
                f"{file}: {where} has file_name {name!r}, expected the name of a file in the split's own folder; "
                "a name with a path in it is refused"
            )
        for key in ("width", "height"):
            value = image[key]
            if type(value) is not int or not 0 < value <= _LARGEST_SIDE:
                raise DataError(f"{file}: {where} ({name}) has {key} {value!r}, expected a positive whole number")
        sizes[image_id] = (image["width"], image["height"])
    return sizes


def _check_categories(file: Path, categories: list[Any], num_classes: int) -> set[int]:
    known: set[int] = set()
    for place, category in enumerate(categories):
        _check_keys(file, f"categories[{place}]", category, ("id",))
        number = _id_of(file, f"categories[{place}]", category, "id")
        if number in known:
            raise DataError(f"{file}: category {number} is listed twice; category ids must be unique")
        if not 1 <= number < num_classes:
            raise DataError(
                f"{file}: category {number} ({category.get('name')!r}) is not one of 1..{num_classes - 1}, the classes "
                f"of a model with num_classes = {num_classes} (0 is the background); use the model's data set, or "
                "change num_classes"
            )
        known.add(number)
    return known


def _check_annotations(file: Path, annotations: list[Any], sizes: Sizes, categories: set[int]) -> None:
    if _are_sound(annotations, sizes, categories):
        return
    seen: set[int] = set()
    for place, annotation in enumerate(annotations):
        if isinstance(annotation, dict) and "bbox" not in annotation and _another({"annotations": [annotation]}):
            raise DataError(
                f"{file}: annotations[{place}] (id {annotation.get('id')!r} of image "
                f"{annotation.get('image_id')!r}) has no 'bbox': "
                f"{_another({'annotations': [annotation]})}use COCO's instances_*.json"
            )
        _check_keys(file, f"annotations[{place}]", annotation, _ANNOTATION_KEYS)
        number = _id_of(file, f"annotations[{place}]", annotation, "id")
        where = f"annotation {number}"
        if number in seen:
            raise DataError(f"{file}: {where} is listed twice, again at annotations[{place}]; its id must be unique")
        seen.add(number)
        image_id = _id_of(file, where, annotation, "image_id")
        if image_id not in sizes:
            raise DataError(f"{file}: {where} is of image {image_id}, which 'images' does not list")
        where = f"{where} of image {image_id}"
        category = _id_of(file, where, annotation, "category_id")
        if category not in categories:
            raise DataError(f"{file}: {where} has category {category}, which 'categories' does not list")
        if annotation["iscrowd"] not in (0, 1):
            raise DataError(f"{file}: {where} has iscrowd {annotation['iscrowd']!r}, expected 0 or 1")
        if not _is_number(annotation["area"]) or annotation["area"] < 0:
            raise DataError(f"{file}: {where} has area {annotation['area']!r}, expected a number of 0 or more")
        _check_box(file, where, annotation["bbox"], sizes[image_id])


def _are_sound(annotations: list[Any], sizes: Sizes, categories: set[int]) -> bool:
    """Whether all annotations surely pass the checks of `_check_annotations`, column by column: that is much faster.

    False says that they are to be checked one by one.
    """
    if not annotations:
        return True
    try:
        ids, image_ids, category_ids, boxes, areas, crowd = (
            list(map(itemgetter(key), annotations)) for key in _ANNOTATION_KEYS
        )
        if {*map(type, ids), *map(type, image_ids), *map(type, category_ids), *map(type, crowd)} != {int}:
            return False
        if not ({*map(type, boxes)} == {list} and {*map(len, boxes)} == {4} and {*crowd} <= {0, 1}):
            return False
        numbers = list(chain.from_iterable(boxes))
        if not {*map(type, numbers), *map(type, areas)} <= {int, float} or not {*category_ids} <= categories:
            return False
        corners = np.array(numbers, dtype=np.float64).reshape(-1, 4)
        listed, area = np.array(list(sizes), dtype=np.int64), np.array(areas, dtype=np.float64)
        order, numbered, owners = np.argsort(listed), np.array(ids, np.int64), np.array(image_ids, np.int64)
    except (KeyError, TypeError, IndexError, OverflowError, ValueError):
        return False
    place = order[np.searchsorted(listed, owners, sorter=order).clip(max=len(listed) - 1)]
    width, height = np.array(list(sizes.values()), dtype=np.float64)[place].T
    x, y, wide, high = corners.T
    inside = (x < width) & (y < height) & (x + wide > 0) & (y + high > 0)
    return bool(
        numbered.min() >= 0
        and len(np.unique(numbered)) == len(numbered)
        and (listed[place] == owners).all()
        and (np.isfinite(area) & (area >= 0) & (area < 2**62)).all()
        and (np.abs(corners).max(axis=1) <= _LARGEST_COORDINATE).all()
        and ((wide >= 0) & (high >= 0) & (inside | (wide == 0) | (high == 0))).all()
    )


def _check_box(file: Path, where: str, box: Any, size: tuple[int, int]) -> None:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise DataError(f"{file}: {where} has bbox {box!r}, expected four finite numbers x, y, width, height")
    x, y, width, height = box
    if max(map(abs, box)) > _LARGEST_COORDINATE:
        raise DataError(f"{file}: {where} has bbox {box!r}, with a number beyond any picture; expected pixels")
    if width < 0 or height < 0:
        raise DataError(f"{file}: {where} has bbox {box!r} of negative width or height; expected x, y, width, height")
    if width == 0 or height == 0:
        return  # COCO has a few; the index drops and counts them
    if x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0:
        raise DataError(
            f"{file}: {where} has bbox {box!r}, wholly outside its picture of {size[0]}x{size[1]} pixels; "
            "correct the box or the size of the image"
        )


def check_present(file: Path, folder: Path, listed: Sequence[tuple[int, str]]) -> None:
    """Compares the images that the file lists, id and name, with one reading of their folder. Raises DataError.

    A stat for each file would take minutes on a network disk. The first ones have to be there where they are links.
    """
    try:
        with os.scandir(folder) as entries:
            present = {entry.name for entry in entries}
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error}") from error
    absent = [f"{name} (id {image_id})" for image_id, name in listed if name not in present]
    if absent:
        more = ", ..." if len(absent) > _SHOWN else ""
        raise DataError(
            f"{file}: {len(absent)} of {len(listed)} images listed are not in {folder}: "
            f"{', '.join(absent[:_SHOWN])}{more}; {_nearly(next(n for _, n in listed if n not in present), present)}"
            "unpack the images again"
        )
    for image_id, name in listed[:_SHOWN]:
        if not os.path.exists(folder / name):
            raise DataError(
                f"{folder / name} (id {image_id}) is a link to {os.path.realpath(folder / name)}, which is not there; "
                "mount that folder on this host, and in its container"
            )


def _nearly(name: str, present: set[str]) -> str:
    """Say which file may be meant by a name that the folder does not have, to end in "; "."""
    for encoding in _ENCODINGS:
        with contextlib.suppress(UnicodeEncodeError):
            other = os.fsdecode(name.encode(encoding))
            if other in present:
                shown = repr(os.fsencode(other))[2:-1]
                return f"{shown} is there, the same name in {encoding} (convmv -f {encoding} -t UTF-8 renames files); "
    strange = sorted(one for one in present if not _is_utf_8(one))
    if strange:
        return f"{len(strange)} names there are not UTF-8, such as {strange[0]}; "
    for one in present:
        if _folded(one) == _folded(name):
            kind = "case" if one.casefold() == name.casefold() else "Unicode normal form"
            return f"{one!r} is there, a name in another {kind}; "
    return ""


def _is_utf_8(name: str) -> bool:
    # A file name's bytes that cannot be decoded become lone surrogates, which cannot be encoded.
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _check_keys(file: Path, where: str, entry: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(entry, dict):
        raise DataError(f"{file}: {where} is {_kind(entry)}, expected an object with {', '.join(keys)}")
    for key in keys:
        if key not in entry:
            image = f" of image {entry['image_id']!r}" if "image_id" in entry else ""
            raise DataError(f"{file}: {where} (id {entry.get('id')!r}{image}) has no {key!r}, found {sorted(entry)}")


def _id_of(file: Path, where: str, entry: dict[str, Any], key: str) -> int:
    value = entry[key]
    if type(value) is not int or not 0 <= value <= _LARGEST_ID:
        raise DataError(f"{file}: {where} has {key} {value!r}, expected a whole number from 0 to 2**63 - 1")
    return value


def _is_number(value: Any) -> bool:
    """Whether the value is a finite float, or an int (no bool) of 64 bits."""
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return type(value) is float and math.isfinite(value)


def _kind(value: Any) -> str:
    """JSON's name of the value's type, with its article."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
