"""The index of a split from the cache, or built from its annotation file and kept there."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from evidence.files import sha256_of
from trainer import cache
from trainer.data.annotations import annotation_file, check_present, find_annotations, read_annotations
from trainer.data.coco import CocoIndex, GroundTruth, frozen, make_index
from trainer.errors import DataError

TRAIN, VAL = "train2017", "val2017"

CACHE, BUILT, MEMORY = "cache", "built", "memory"

_MAKERS = ("data/annotations", "data/coco", "data/index_cache", "data/json_stream")


@dataclass(frozen=True)
class Key:
    """What decides the content of an index besides the code that makes it."""

    annotations_sha256: str
    training: bool
    num_classes: int

    @property
    def path(self) -> Path:
        """The entry's file. Raises CacheError."""
        return cache.entry("indexes", json.dumps(vars(self)), *_MAKERS)


@dataclass(frozen=True)
class Entry:
    """The content of an entry: the index, and every image that the annotation file lists, in its order."""

    index: CocoIndex
    listed_ids: np.ndarray
    """int64 [listed]"""
    listed_names: np.ndarray
    """str [listed]"""


@dataclass(frozen=True)
class Obtained:
    """An index, its source (CACHE, BUILT or MEMORY), and why it is not from the cache."""

    index: CocoIndex
    key: Key
    source: str
    why: str = ""


def obtain(root: Path, split: str, *, num_classes: int, training: bool) -> Obtained:
    """Returns the index of `load_index`: from a valid cache entry, else built and stored there.

    In either case the listed images have to be in their folder. If the cache cannot be used, the index stays in this
    process's memory. Raises DataError as `load_index` does, and for a file that changes while it is read.
    """
    file = find_annotations(root, split)
    key = Key(digest_of(file), training, num_classes)
    entry, why = None, ""
    try:
        entry = load(key, split)
    except cache.CacheError as error:
        why = str(error)
    if entry is not None:
        check_present(file, root / split, list(zip(entry.listed_ids.tolist(), entry.listed_names.tolist())))
        return Obtained(entry.index, key, CACHE)
    entry = _build(root, split, key)
    if digest_of(file) != key.annotations_sha256:
        raise DataError(f"{file}: was changed while it was being read; start again when it is complete")
    try:
        store(key, entry)
    except cache.CacheError as error:
        return Obtained(entry.index, key, MEMORY, str(error))
    return Obtained(entry.index, key, BUILT, why)


def load(key: Key, split: str) -> Entry | None:
    """Returns the entry of a key; None without one. Raises CacheError for one that cannot be used."""
    arrays = cache.read(key.path)
    if arrays is None:
        return None
    arrays = {name: frozen(array) for name, array in arrays.items()}
    truth = None
    if "truth_ids" in arrays:
        truth = GroundTruth(**{one.name: arrays[f"truth_{one.name}"] for one in fields(GroundTruth)})
    of_index: dict[str, Any] = {one.name: arrays[one.name] for one in fields(CocoIndex) if one.name in arrays}
    of_index.update(split=split, counts=json.loads(str(arrays["counts"])), ground_truth=truth)
    return Entry(CocoIndex(**of_index), arrays["listed_ids"], arrays["listed_names"])


def store(key: Key, entry: Entry) -> None:
    """Writes the entry. Raises CacheError."""
    truth = entry.index.ground_truth
    arrays = {name: value for name, value in vars(entry.index).items() if isinstance(value, np.ndarray)}
    arrays.update({f"truth_{name}": value for name, value in (vars(truth).items() if truth else ())})
    arrays.update(listed_ids=entry.listed_ids, listed_names=entry.listed_names)
    cache.write(key.path, {**arrays, "counts": np.array(json.dumps(entry.index.counts))})


def digest_of(file: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits. Raises DataError if it cannot be read."""
    try:
        return sha256_of(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def _build(root: Path, split: str, key: Key) -> Entry:
    # A function of its own: the parsed file is many times as large as the index, and is freed on return.
    content = read_annotations(root, split, num_classes=key.num_classes)
    images = content["images"]
    return Entry(
        make_index(content, annotation_file(root, split), split, training=key.training),
        np.array([image["id"] for image in images], dtype=np.int64),
        np.array([image["file_name"] for image in images], dtype=str),
    )
