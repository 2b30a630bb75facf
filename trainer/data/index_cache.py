"""Keeps the index of a split on disk, as plain arrays that the processes of a host map, by what decided its content.

An entry is a folder: one `.npy` file for each array, and `meta.json`, which has the SHA-256 of each of them and of its
own content. Nothing in it is ever unpickled. An entry appears under its name when all of it has been written, and is
never changed afterwards: whoever finds it unfit moves it aside and puts another in its place, so that maps stay whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Dict

import numpy as np

from trainer.data.annotations import annotation_file, check_present, find_annotations, read_annotations
from trainer.data.coco import CocoIndex, make_index
from trainer.data.ground_truth import GroundTruth
from trainer.errors import DataError, TrainerError

FOLDER_VARIABLE = "CONFORMANCE_CACHE"
SCHEMA = 1

CACHE, BUILT, MEMORY = "cache", "built", "memory"

_META = "meta.json"
_MAKERS = ("annotations.py", "coco.py", "ground_truth.py", "index_cache.py")
_ENTRY, _PARTIAL = "index-", ".partial-"
_UNUSED_S = 90 * 86400
_ABANDONED_S = 86400
_TRIES = 3
_BLOCK_BYTES = 2**20


def _code_digest() -> str:
    """SHA-256 of the modules that decide the content of an entry; "" where they cannot be read."""
    digest = hashlib.sha256()
    try:
        for name in _MAKERS:
            digest.update(Path(__file__).with_name(name).read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()


_CODE_SHA256 = _code_digest()  # of what has been imported, whatever becomes of the files during the run

Arrays = Dict[str, np.ndarray]
"""By the name of its file, without `.npy`."""


class EntryError(TrainerError):
    """An entry of the cache cannot be used, or cannot be written: the index has to come from the annotation file."""

    kind = "cache"


@dataclass(frozen=True)
class Key:
    """What decides the content of an index, beside the code that makes it."""

    annotations_sha256: str
    training: bool
    num_classes: int

    def facts(self) -> dict[str, Any]:
        """Everything that an entry has to agree with."""
        if not _CODE_SHA256:
            raise EntryError("the modules that make an index cannot be read, and so neither told from other versions")
        return {**vars(self), "schema": SCHEMA, "code_sha256": _CODE_SHA256}

    @property
    def name(self) -> str:
        """The name of the entry's folder."""
        return _ENTRY + hashlib.sha256(_plain_json(self.facts())).hexdigest()


@dataclass(frozen=True)
class Entry:
    """What an entry holds: the index, and every image that the file lists, in its order, whatever became of it."""

    index: CocoIndex
    listed_ids: np.ndarray
    """int64 [listed]"""
    listed_names: np.ndarray
    """str [listed]"""


@dataclass(frozen=True)
class Obtained:
    """An index, where it came from (CACHE, BUILT or MEMORY), and why not from where it should have come."""

    index: CocoIndex
    key: Key
    source: str
    why: str = ""


def cache_folder() -> Path:
    """Returns the folder of the entries: in $CONFORMANCE_CACHE, else in the user's own cache. Raises EntryError."""
    told, users = os.environ.get(FOLDER_VARIABLE), os.environ.get("XDG_CACHE_HOME", "")
    if told:
        return Path(told).absolute() / "indexes"
    try:
        # The XDG base directory specification: a path that is not absolute is to be ignored.
        base = Path(users) if os.path.isabs(users) else Path.home() / ".cache"
    except (RuntimeError, KeyError) as error:  # a container's user may have no home; KeyError before Python 3.10
        raise EntryError(f"this user has no home folder ({error}); set {FOLDER_VARIABLE} to a folder") from error
    return base / "accelerator-conformance" / "indexes"


def obtain(root: Path, split: str, *, num_classes: int, training: bool) -> Obtained:
    """Returns the index of `load_index`, from the cache if it has a sound one, else built and left there for others.

    Whether the images listed are in their folder is looked up in either case. Where the cache cannot be used the index
    stays in this process's memory. Raises DataError as `load_index` does, and for a file that changes meanwhile.
    """
    file = find_annotations(root, split)
    key = Key(digest_of(file), training, num_classes)
    why = ""
    try:
        entry = load(key, split, check=True)
    except EntryError as error:
        entry, why = None, str(error)
    if entry is not None:
        check_present(file, root / split, list(zip(entry.listed_ids.tolist(), entry.listed_names.tolist())))
        return Obtained(entry.index, key, CACHE)
    entry = _build(root, split, key)
    if digest_of(file) != key.annotations_sha256:
        raise DataError(f"{file}: was changed while it was being read; start again when it is complete")
    try:
        mapped = _stored(key, entry, split)
    except EntryError as error:
        return Obtained(entry.index, key, MEMORY, str(error))
    return Obtained(mapped.index, key, BUILT, why)


def load(key: Key, split: str, *, check: bool) -> Entry | None:
    """Returns the entry of that key, its arrays mapped; None where there is none.

    With `check` each file is read once and compared with its SHA-256: for one process of a host, before the others map
    them. Raises EntryError for an entry that is not whole, not readable, or another user's.
    """
    folder = cache_folder() / key.name
    try:
        for place in (folder.parent, folder):
            _require_own(place)
        meta = _read_meta(folder, key)
        arrays = {name: _map(folder / f"{name}.npy", digest, check) for name, digest in meta["arrays"].items()}
        entry = _unpack(arrays, split, meta["counts"])
        with contextlib.suppress(OSError):
            os.utime(folder / _META)  # when it was last of use
        return entry
    except FileNotFoundError as error:
        if not os.path.lexists(folder):
            return None
        raise EntryError(f"{folder}: is not whole: {error}") from error
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise EntryError(f"{folder}: cannot be used: {type(error).__name__}: {error}") from error


def store(key: Key, entry: Entry) -> None:
    """Writes the entry and puts it in its place as a whole, unless another process was faster. Raises EntryError."""
    folder = cache_folder()
    try:
        os.makedirs(folder.parent, mode=0o700, exist_ok=True)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _require_own(folder)
        _tidy(folder)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
        try:
            _write(partial, key, entry)
            _publish(partial, folder / key.name, key)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise EntryError(
            f"{folder}: {error}; set {FOLDER_VARIABLE} to a folder that is writable and has room"
        ) from error


def _require_own(folder: Path) -> None:
    """Raise EntryError unless nobody else can put something into the folder; OSError where it cannot be looked at."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise EntryError(f"{folder}: is no folder, or a link to one")
    if status.st_uid != os.geteuid():
        raise EntryError(f"{folder}: belongs to user {status.st_uid}, expected {os.geteuid()}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EntryError(f"{folder}: may be written to by others; take that right away: chmod go-w")


def digest_of(file: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits. Raises DataError where it cannot be read."""
    try:
        return _sha256(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def _build(root: Path, split: str, key: Key) -> Entry:
    # In a function of its own: what was parsed is many times the index, and is gone when this returns.
    content = read_annotations(root, split, num_classes=key.num_classes)
    images = content["images"]
    return Entry(
        make_index(content, annotation_file(root, split), split, training=key.training),
        np.array([image["id"] for image in images], dtype=np.int64),
        np.array([image["file_name"] for image in images], dtype=str),
    )


def _stored(key: Key, entry: Entry, split: str) -> Entry:
    """Stores the entry and returns it mapped, so that its builder too has no copy of its own. Raises EntryError."""
    problem = EntryError(f"{cache_folder() / key.name}: others keep removing it")
    for _ in range(_TRIES):
        store(key, entry)
        try:
            mapped = load(key, split, check=False)
        except EntryError as error:
            problem, mapped = error, None
        if mapped is not None:
            return mapped
        # Somebody who had seen an unfit entry took ours for it, and is about to put a sound one there.
    raise problem


def _pack(entry: Entry) -> Arrays:
    truth = entry.index.ground_truth
    arrays = {name: value for name, value in vars(entry.index).items() if isinstance(value, np.ndarray)}
    arrays.update({f"truth_{name}": value for name, value in (vars(truth).items() if truth else ())})
    return {**arrays, "listed_ids": entry.listed_ids, "listed_names": entry.listed_names}


def _unpack(arrays: Arrays, split: str, counts: dict[str, Any]) -> Entry:
    truth = None
    if "truth_ids" in arrays:
        truth = GroundTruth(**{field.name: arrays[f"truth_{field.name}"] for field in fields(GroundTruth)})
    names = {field.name for field in fields(CocoIndex)} & arrays.keys()
    of_index: dict[str, Any] = {name: arrays[name] for name in names}
    index = CocoIndex(split=split, counts=counts, ground_truth=truth, **of_index)
    return Entry(index, arrays["listed_ids"], arrays["listed_names"])


def _map(path: Path, digest: str, check: bool) -> np.ndarray:
    if check and _sha256(path) != digest:
        raise EntryError(f"{path}: is damaged: its SHA-256 is not the one in {_META}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # its header is read as Python's literals, which may raise anything
        raise EntryError(f"{path}: is no plain array: {type(error).__name__}: {error}") from error
    if not isinstance(array, np.memmap):
        raise EntryError(f"{path}: is no plain array")
    return array.view(np.ndarray)  # a memmap would make each of its slices one as well, which takes time


def _read_meta(folder: Path, key: Key) -> dict[str, Any]:
    path = folder / _META
    try:
        told = json.loads(path.read_bytes())
        meta: dict[str, Any] = told["content"]
        sound = told["sha256"] == hashlib.sha256(_plain_json(meta)).hexdigest() and meta["of"] == key.facts()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EntryError(f"{path}: is damaged: {type(error).__name__}: {error}") from error
    if not sound:
        raise EntryError(f"{path}: is damaged, or of another index")
    return meta


def _write(folder: Path, key: Key, entry: Entry) -> None:
    digests = {}
    for name, array in _pack(entry).items():
        path = folder / f"{name}.npy"
        np.save(path, array, allow_pickle=False)
        digests[name] = _sha256(path)
    meta = {"of": key.facts(), "counts": entry.index.counts, "arrays": digests}
    text = _plain_json({"sha256": hashlib.sha256(_plain_json(meta)).hexdigest(), "content": meta})
    (folder / _META).write_bytes(text)


def _publish(partial: Path, place: Path, key: Key) -> None:
    for _ in range(_TRIES):
        try:
            os.rename(partial, place)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        with contextlib.suppress(EntryError):
            if load(key, "", check=True) is not None:
                return  # another process was faster
        aside = tempfile.mkdtemp(prefix=_PARTIAL, dir=place.parent)
        with contextlib.suppress(FileNotFoundError):
            os.rename(place, Path(aside) / place.name)
        shutil.rmtree(aside, ignore_errors=True)
    raise OSError(errno.EEXIST, "other processes keep putting unfit entries there", str(place))


def _tidy(folder: Path) -> None:
    """Removes what nobody has used for long, and what was left behind by whoever was killed while writing it."""
    now_s = time.time()
    for name in os.listdir(folder):
        path = folder / name
        limit_s = _UNUSED_S if name.startswith(_ENTRY) else _ABANDONED_S if name.startswith(_PARTIAL) else None
        with contextlib.suppress(OSError):
            marked = path / _META if (path / _META).is_file() else path
            if limit_s is not None and now_s - marked.stat().st_mtime > limit_s:
                shutil.rmtree(path, ignore_errors=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
            digest.update(block)
    return digest.hexdigest()


def _plain_json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode("ascii")
