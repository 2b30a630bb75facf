"""A cache of indexes on disk, which every rank of a host maps.

An entry is one file, named by what decides its content: the SHA-256 of all that follows, a JSON header, and plain
arrays. It is written atomically and never changed; replacing an invalid one leaves existing maps valid.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Callable

import numpy as np

from evidence.files import sha256_of
from trainer.data.annotations import annotation_file, check_present, find_annotations, read_annotations
from trainer.data.coco import CocoIndex, GroundTruth, make_index
from trainer.errors import DataError, TrainerError

TRAIN, VAL = "train2017", "val2017"

FOLDER_VARIABLE = "CONFORMANCE_CACHE"
SCHEMA = 2

CACHE, BUILT, MEMORY = "cache", "built", "memory"

_MAKERS = ("annotations.py", "coco.py", "index_cache.py", "json_stream.py")
_ENTRY, _PARTIAL = "index-", ".partial-"
_UNUSED_S = 90 * 86400
_ABANDONED_S = 86400
_DIGEST_BYTES, _LENGTH_BYTES, _ALIGNMENT = 64, 16, 64  # in hexadecimal and decimal digits; of arrays in the file


def _code_digest() -> str:
    """SHA-256 of the modules that decide the content of an entry; "" if they cannot be read."""
    digest = hashlib.sha256()
    try:
        for name in _MAKERS:
            digest.update(Path(__file__).with_name(name).read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()


_CODE_SHA256 = _code_digest()  # at import: the files may change during the run


class EntryError(TrainerError):
    """A cache entry cannot be used or written: the index has to be made from the annotation file."""

    kind = "cache"


@dataclass(frozen=True)
class Key:
    """What decides the content of an index besides the code that makes it."""

    annotations_sha256: str
    training: bool
    num_classes: int

    def facts(self) -> dict[str, Any]:
        """Everything that an entry has to match."""
        if not _CODE_SHA256:
            raise EntryError("the modules that make an index cannot be read, and so their version is unknown")
        return {**vars(self), "schema": SCHEMA, "code_sha256": _CODE_SHA256}

    @property
    def name(self) -> str:
        """The name of the entry's file."""
        return _ENTRY + hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode("ascii")).hexdigest()


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


def cache_folder() -> Path:
    """Returns the folder of the entries: in $CONFORMANCE_CACHE, else in the user's own cache. Raises EntryError."""
    chosen, users = os.environ.get(FOLDER_VARIABLE), os.environ.get("XDG_CACHE_HOME", "")
    if chosen:
        return Path(chosen).absolute() / "indexes"
    try:
        # The XDG base directory specification: a path that is not absolute is to be ignored.
        base = Path(users) if os.path.isabs(users) else Path.home() / ".cache"
    except (RuntimeError, KeyError) as error:  # a container's user may have no home; KeyError before Python 3.10
        raise EntryError(f"this user has no home folder ({error}); set {FOLDER_VARIABLE} to a folder") from error
    return base / "accelerator-conformance" / "indexes"


def obtain(root: Path, split: str, *, num_classes: int, training: bool) -> Obtained:
    """Returns the index of `load_index`: from a valid cache entry, else built and stored there.

    In either case the listed images have to be in their folder. If the cache cannot be used, the index stays in this
    process's memory. Raises DataError as `load_index` does, and for a file that changes while it is read.
    """
    file = find_annotations(root, split)
    key = Key(digest_of(file), training, num_classes)
    entry, why = None, ""
    try:
        entry = load(key, split, check=True)
    except EntryError as error:
        why = str(error)
    if entry is not None:
        check_present(file, root / split, list(zip(entry.listed_ids.tolist(), entry.listed_names.tolist())))
        return Obtained(entry.index, key, CACHE)
    entry = _build(root, split, key)
    if digest_of(file) != key.annotations_sha256:
        raise DataError(f"{file}: was changed while it was being read; start again when it is complete")
    try:
        store(key, entry)
        mapped = load(key, split, check=False)  # so that this process keeps no copy of its own
    except EntryError as error:
        return Obtained(entry.index, key, MEMORY, str(error))
    return Obtained((mapped or entry).index, key, BUILT, why)


def load(key: Key, split: str, *, check: bool) -> Entry | None:
    """Returns the entry of a key with its arrays mapped; None without one.

    With `check` the file is compared with its SHA-256: one process of a host does so before the others map it. Raises
    EntryError for an entry that is damaged, unreadable, or writable for other users.
    """
    path = cache_folder() / key.name
    try:
        _require_own(path.parent, stat.S_ISDIR)
        _require_own(path, stat.S_ISREG)
        entry = _unpack(np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray), key, split, check)
        with contextlib.suppress(OSError):
            os.utime(path)  # when it was last used
        return entry
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EntryError(f"{path}: is damaged: {type(error).__name__}: {error}") from error


def store(key: Key, entry: Entry) -> None:
    """Writes the entry atomically, in place of any other under its name. Raises EntryError."""
    folder = cache_folder()
    try:
        os.makedirs(folder.parent, mode=0o700, exist_ok=True)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _require_own(folder, stat.S_ISDIR)
        _tidy(folder)
        handle, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=folder)
        try:
            with open(handle, "wb") as file:
                _write(file, key, entry)
            if (folder / key.name).is_dir() and not (folder / key.name).is_symlink():
                shutil.rmtree(folder / key.name)
            os.replace(partial, folder / key.name)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
    except OSError as error:
        raise EntryError(
            f"{folder}: {error}; set {FOLDER_VARIABLE} to a folder that is writable and has room"
        ) from error


def _require_own(path: Path, is_kind: Callable[[int], bool]) -> None:
    """Raise EntryError if it is of another kind or writable for another user, OSError if it cannot be examined."""
    status = os.lstat(path)
    if not is_kind(status.st_mode):
        raise EntryError(f"{path}: is not a plain file or folder")
    if status.st_uid != os.geteuid():
        raise EntryError(f"{path}: belongs to user {status.st_uid}, expected {os.geteuid()}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EntryError(f"{path}: may be written to by others; take that right away: chmod go-w")


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


def _write(file: BinaryIO, key: Key, entry: Entry) -> None:
    truth = entry.index.ground_truth
    arrays = {name: value for name, value in vars(entry.index).items() if isinstance(value, np.ndarray)}
    arrays.update({f"truth_{name}": value for name, value in (vars(truth).items() if truth else ())})
    arrays.update(listed_ids=entry.listed_ids, listed_names=entry.listed_names)
    table, end = {}, 0
    for name, array in arrays.items():
        table[name] = [array.dtype.str, array.shape, end]
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    header = json.dumps({"of": key.facts(), "counts": entry.index.counts, "arrays": table}).encode("ascii")
    header += b" " * (-(_DIGEST_BYTES + _LENGTH_BYTES + len(header)) % _ALIGNMENT)
    digest = hashlib.sha256()
    file.seek(_DIGEST_BYTES)
    pads = (b"\0" * (-array.nbytes % _ALIGNMENT) for array in arrays.values())
    parts = (part for array, pad in zip(arrays.values(), pads) for part in (array.tobytes(), pad))
    for part in (b"%0*d" % (_LENGTH_BYTES, len(header)), header, *parts):
        file.write(part)
        digest.update(part)
    file.seek(0)
    file.write(digest.hexdigest().encode("ascii"))


def _unpack(content: np.ndarray, key: Key, split: str, check: bool) -> Entry:
    """Return the entry in a file's bytes, its arrays views of them. Raises ValueError, KeyError, TypeError."""
    begin = _DIGEST_BYTES + _LENGTH_BYTES
    if check and hashlib.sha256(content[_DIGEST_BYTES:].data).hexdigest().encode() != content[:_DIGEST_BYTES].tobytes():
        raise ValueError("its SHA-256 is another one")
    end = begin + int(content[_DIGEST_BYTES:begin].tobytes())
    header = json.loads(content[begin:end].tobytes())
    if header["of"] != key.facts():
        raise ValueError("it is of another index")
    arrays = {}
    for name, (dtype, shape, offset) in header["arrays"].items():
        kind = np.dtype(dtype)
        size = kind.itemsize * int(np.prod(shape, dtype=np.int64))
        arrays[name] = content[end + offset : end + offset + size].view(kind).reshape(shape)
    truth = None
    if "truth_ids" in arrays:
        truth = GroundTruth(**{field.name: arrays[f"truth_{field.name}"] for field in fields(GroundTruth)})
    of_index: dict[str, Any] = {one.name: arrays[one.name] for one in fields(CocoIndex) if one.name in arrays}
    index = CocoIndex(split=split, counts=header["counts"], ground_truth=truth, **of_index)
    return Entry(index, arrays["listed_ids"], arrays["listed_names"])


def _tidy(folder: Path) -> None:
    """Removes entries unused for long, and partial ones of processes that were killed."""
    now_s = time.time()
    for path in folder.iterdir():
        limit_s = _UNUSED_S if path.name.startswith(_ENTRY) else _ABANDONED_S
        with contextlib.suppress(OSError):
            if path.name.startswith((_ENTRY, _PARTIAL)) and now_s - path.lstat().st_mtime > limit_s:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
