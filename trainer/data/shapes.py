"""Writes a real data set in COCO's layout, of simple shapes, for machines that have no COCO and no accelerator."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from trainer.data import drawing
from trainer.data.drawing import CATEGORIES, Drawn, draw
from trainer.errors import DataError

VERSION = 1
"""Counts up whenever a release gives other bytes for the same arguments; in the folder's name and in every seed."""

NUM_CLASSES = len(CATEGORIES) + 1
"""What a model of this data set has to tell apart: the categories and the background."""

_SPLITS = ("train2017", "val2017")
_FIRST_ID = {"train2017": 9, "val2017": 900001}
_SHAPES_PER_IMAGE = (1, 2, 2, 3, 3, 3)
_RARE_ONE_IN = 40
_RARE_FROM = 16
_MANIFEST = "complete.json"
_LOCK_TIMEOUT_S = 600


def generate(root: Path, *, seed: int, train_images: int, val_images: int) -> None:
    """Writes `train2017/`, `val2017/` and `annotations/` into `root`; same arguments, same bytes in every file.

    Among each split of 16 images or more, about one in 40 (and at least one) is greyscale, one has a crowd box and one
    no box at all. Raises DataError for counts below 1 and where `root` already holds a part of a data set.
    """
    if seed < 0 or train_images < 1 or val_images < 1:
        raise DataError(
            f"cannot generate shapes from seed={seed}, train_images={train_images}, val_images={val_images}: "
            "the seed must be 0 or more and both counts 1 or more"
        )
    for name in ("annotations", *_SPLITS):
        if (root / name).exists():
            raise DataError(f"{root / name} exists already; generate into a new folder, or delete it first")
        (root / name).mkdir(parents=True)
    for split, count in zip(_SPLITS, (train_images, val_images)):
        annotations = _write_split(root / split, seed, split, count)
        _write_json(root / "annotations" / f"instances_{split}.json", annotations)


def ensure(root_parent: Path, *, seed: int, train_images: int, val_images: int) -> Path:
    """Returns the folder of that data set under `root_parent`, generating it if it is not there complete.

    Safe to call from many processes at once: one generates, the others wait. The folder appears under its name only
    when all of it has been written, and its own list of files and sizes is checked every time; what an earlier state of
    this code has drawn is drawn again. Raises DataError where the folder cannot be written or the other process does
    not finish.
    """
    name = f"shapes-v{VERSION}-s{seed}-t{train_images}-v{val_images}"
    folder = root_parent / name
    partial = root_parent / f".{name}.partial"
    try:
        root_parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(root_parent / f".{name}.lock"), timeout=_LOCK_TIMEOUT_S):
            if not _is_complete(folder):
                # Whoever left these behind is dead: a living one would hold the lock.
                _remove(partial)
                _remove(folder)
                generate(partial, seed=seed, train_images=train_images, val_images=val_images)
                _write_json(partial / _MANIFEST, _manifest(partial))
                partial.rename(folder)
    except Timeout as error:
        raise DataError(
            f"waited {_LOCK_TIMEOUT_S} s for another process that is generating {folder}; "
            "end that process, or name another folder"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot write the generated data set {folder}: {error}; name a folder that is writable and has room"
        ) from error
    return folder


def _write_split(folder: Path, seed: int, split: str, count: int) -> dict[str, Any]:
    """Writes the JPEG files of a split and returns the content of its annotation file."""
    tag = 1 + _SPLITS.index(split)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, kind in enumerate(_kinds(_generator(seed, tag, 0), count)):
        rng = _generator(seed, tag, 1 + index)
        pixels, drawn = _picture(rng, kind)
        image_id = _FIRST_ID[split] + 5 * index  # gaps, as COCO has them: an id is no position
        name = f"{image_id:012d}.jpg"
        picture = Image.fromarray(pixels)
        (picture.convert("L") if kind == "grey" else picture).save(folder / name, "JPEG", quality=90)
        height, width = pixels.shape[:2]
        images.append({"id": image_id, "file_name": name, "width": width, "height": height, "license": 1})
        annotations += [
            _annotation(len(annotations) + 1 + offset, image_id, thing) for offset, thing in enumerate(drawn)
        ]
    return {
        "info": {"description": f"Simple shapes, {split}, seed {seed}", "version": str(VERSION), "year": 2017},
        "licenses": [{"id": 1, "name": "Generated; free of any right", "url": ""}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": "shape"} for number, name in enumerate(CATEGORIES, 1)
        ],
    }


def _generator(seed: int, tag: int, index: int) -> np.random.Generator:
    """A generator of its own for every image. The last word is not 0: trailing zeros do not change a seed sequence."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, tag, index, VERSION])))


def _kinds(rng: np.random.Generator, count: int) -> list[str]:
    """What each image of a split is: "plain", or one of the rare kinds that real COCO has as well."""
    each = max(1, count // _RARE_ONE_IN) if count >= _RARE_FROM else 0
    kinds = ["plain"] * count
    for place, kind in zip(rng.permutation(count), ["grey"] * each + ["crowd"] * each + ["empty"] * each):
        kinds[place] = kind
    return kinds


def _picture(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, tuple[Drawn, ...]]:
    if kind == "empty":
        return draw(rng, shapes=0)
    if kind == "crowd":
        return draw(rng, shapes=int(rng.integers(0, 2)), crowd=True)  # a crowd alone, now and then
    return draw(rng, shapes=_SHAPES_PER_IMAGE[rng.integers(len(_SHAPES_PER_IMAGE))])


def _annotation(annotation_id: int, image_id: int, thing: Drawn) -> dict[str, Any]:
    crowd = thing.polygon is None
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": thing.category,
        "bbox": [float(value) for value in thing.box],
        "area": float(thing.mask.sum()),
        "iscrowd": int(crowd),
        "segmentation": _run_lengths(thing.mask) if crowd else [list(thing.polygon or ())],
    }


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run-length form: lengths of alternating runs, column by column, beginning with zeros."""
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = [0, *edges.tolist(), flat.size]
    counts = [after - before for before, after in zip(bounds, bounds[1:])]
    return {"counts": [0, *counts] if flat[0] else counts, "size": list(mask.shape)}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_bytes(json.dumps(content, separators=(",", ":")).encode("ascii"))


def _manifest(folder: Path) -> dict[str, Any]:
    """What drew the folder, and the bytes of every file in it by its path relative to it, except the list itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    return {"drawn_by": _code_digest(), "bytes": sizes}


def _code_digest() -> str:
    """SHA-256 of the modules that decide the bytes, for the changes that VERSION does not count."""
    digest = hashlib.sha256()
    for module in (drawing.__file__, __file__):
        digest.update(Path(module).read_bytes())
    return digest.hexdigest()


def _is_complete(folder: Path) -> bool:
    """Whether this code drew the folder and it holds exactly the files that it had, with their sizes."""
    try:
        wanted = json.loads((folder / _MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return bool(wanted == _manifest(folder))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
