"""A generated data set of simple shapes in COCO's layout, for machines without COCO and without an accelerator.

Pixels are computed in integers, and randomness comes from `integers` and `permutation` of a PCG64 generator, so that
the files are the same with every supported numpy.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from trainer.errors import DataError

VERSION = 1
"""Counts up whenever a release gives other bytes for the same arguments; in the folder's name and in every seed."""

CATEGORIES = ("circle", "square", "triangle")
SIZES = ((128, 128), (128, 96), (96, 128), (128, 112), (112, 128), (128, 104), (104, 128))
"""Widths and heights that pictures have; the longest side is always 128 pixels."""

_SIDES = (24, 68)
_MARGIN = 2
_THROWS = 30
_CROWD_CELL = 16
# Strong contrast: a model that starts from random weights has a hundred steps to learn this.
_BACKGROUND = (30, 91)

NUM_CLASSES = len(CATEGORIES) + 1
"""Classes of a model of this data set: the categories and the background."""

_SPLITS = ("train2017", "val2017")
_FIRST_ID = {"train2017": 9, "val2017": 900001}
_SHAPES_PER_IMAGE = (1, 2, 2, 3, 3, 3)
_RARE_ONE_IN = 40
_RARE_FROM = 16
_MANIFEST = "complete.json"
_LOCK_TIMEOUT_S = 600


def generate(root: Path, *, seed: int, train_images: int, val_images: int, scale: int = 1) -> None:
    """Writes `train2017/`, `val2017/` and `annotations/` into `root`; same arguments, same bytes in every file.

    Pictures have `scale` times the sides of SIZES: five times is COCO's usual 640 x 480 and its like.
    Among each split of 16 images or more, about one in 40 (and at least one) is greyscale, one has a crowd box and one
    no box at all. Raises DataError for counts below 1 and where `root` already holds a part of a data set.
    """
    if seed < 0 or train_images < 1 or val_images < 1 or scale < 1:
        raise DataError(
            f"cannot generate shapes from seed={seed}, train_images={train_images}, val_images={val_images}, "
            f"scale={scale}: the seed must be 0 or more, both counts and the scale 1 or more"
        )
    for name in ("annotations", *_SPLITS):
        if (root / name).exists():
            raise DataError(f"{root / name} exists already; generate into a new folder, or delete it first")
        (root / name).mkdir(parents=True)
    for split, count in zip(_SPLITS, (train_images, val_images)):
        annotations = _write_split(root / split, seed, split, count, scale)
        _write_json(root / "annotations" / f"instances_{split}.json", annotations)


def ensure(root_parent: Path, *, seed: int, train_images: int, val_images: int, scale: int = 1) -> Path:
    """Returns the folder of that data set under `root_parent`, generating it if it is not there complete.

    Safe to call from many processes at once: one generates, the others wait. The folder appears under its name when it
    is complete, and is checked against its list of files and sizes on every call; one of an earlier version of this
    code is generated again. Raises DataError if the folder cannot be written or the other process does not finish.
    """
    name = f"shapes-v{VERSION}-s{seed}-t{train_images}-v{val_images}" + (f"-x{scale}" if scale > 1 else "")
    folder = root_parent / name
    partial = root_parent / f".{name}.partial"
    try:
        root_parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(root_parent / f".{name}.lock"), timeout=_LOCK_TIMEOUT_S):
            if not _is_complete(folder):
                # Left by a process that has ended: a running one would hold the lock.
                _remove(partial)
                _remove(folder)
                generate(partial, seed=seed, train_images=train_images, val_images=val_images, scale=scale)
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


def _write_split(folder: Path, seed: int, split: str, count: int, scale: int) -> dict[str, Any]:
    """Writes the JPEG files of a split and returns the content of its annotation file."""
    tag = 1 + _SPLITS.index(split)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, kind in enumerate(_kinds(_generator(seed, tag, 0), count)):
        rng = _generator(seed, tag, 1 + index)
        pixels, drawn = _enlarged(*_picture(rng, kind), scale)
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


def _enlarged(pixels: np.ndarray, drawn: tuple[Drawn, ...], scale: int) -> tuple[np.ndarray, tuple[Drawn, ...]]:
    """The picture and its shapes with every pixel drawn `scale` times as wide and high."""
    if scale == 1:
        return pixels, drawn
    return _repeated(pixels, scale), tuple(
        Drawn(
            one.category,
            _repeated(one.mask, scale),
            None if one.polygon is None else tuple(scale * value for value in one.polygon),
        )
        for one in drawn
    )


def _repeated(pixels: np.ndarray, scale: int) -> np.ndarray:
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


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
    """SHA-256 of this module, for the changes that VERSION does not count."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


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


class Frame(NamedTuple):
    """A square region of a picture: its left upper corner and its side, in pixels."""

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Drawn:
    """A shape in a picture, or a crowd of shapes of one category; `mask` is bool [height, width] of the picture.

    `polygon` is x, y, x, y, ... in pixels; None for a crowd, whose outline is its mask.
    """

    category: int
    mask: np.ndarray
    polygon: tuple[float, ...] | None

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width and height of the tightest box around the drawn pixels."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def draw(rng: np.random.Generator, *, shapes: int, crowd: bool = False) -> tuple[np.ndarray, tuple[Drawn, ...]]:
    """Returns a picture, uint8 [height, width, 3], and its shapes; fewer than `shapes` if there is no room.

    Shapes do not touch each other. There is always room for the first, and for the crowd, which is placed before.
    """
    width, height = SIZES[rng.integers(len(SIZES))]
    base = rng.integers(*_BACKGROUND, size=3)
    pixels = _background(rng, width, height, base)
    frames: list[Frame] = []
    drawn: list[Drawn] = []
    if crowd:
        frame = _free_frame(rng, (width, height), (3 * _CROWD_CELL, 3 * _CROWD_CELL), frames)
        if frame is not None:
            frames.append(frame)
            drawn.append(_crowd(rng, frame, width, height))
    for _ in range(shapes):
        frame = _free_frame(rng, (width, height), _SIDES, frames)
        if frame is not None:
            frames.append(frame)
            category, mask = int(rng.integers(1, len(CATEGORIES) + 1)), np.zeros((height, width), dtype=bool)
            mask[frame.y : frame.y + frame.side, frame.x : frame.x + frame.side] = _stencil(category, frame.side)
            drawn.append(Drawn(category, mask, _outline(category, frame)))
    for thing in drawn:
        _paint(rng, pixels, thing)
    return np.clip(pixels, 0, 255).astype(np.uint8), tuple(drawn)


def _background(rng: np.random.Generator, width: int, height: int, base: np.ndarray) -> np.ndarray:
    """Soft patches of a colour under fine noise, int32 [height, width, 3]: textured, yet unlike any shape's colour."""
    cell = 16
    # Drawn as int64: another type gives another sequence. int32 is enough from here on.
    knots = rng.integers(-12, 13, size=(height // cell + 2, width // cell + 2, 3)).astype(np.int32)
    rows, row_part = np.divmod(np.arange(height, dtype=np.int32), cell)
    columns, column_part = np.divmod(np.arange(width, dtype=np.int32), cell)
    right, down = column_part[None, :, None], row_part[:, None, None]
    across = knots[:, columns] * (cell - right) + knots[:, columns + 1] * right  # of the few rows that have knots
    patches = across[rows] * (cell - down) + across[rows + 1] * down
    patches >>= 8  # divides by cell * cell and rounds down
    noise = rng.integers(-6, 7, size=(height, width, 1))
    patches += base.astype(np.int32) + noise.astype(np.int32)
    return patches


def _free_frame(
    rng: np.random.Generator, size: tuple[int, int], sides: tuple[int, int], taken: list[Frame]
) -> Frame | None:
    """A frame that keeps its distance from those in `taken`, smaller the longer it takes to find; None if none fits."""
    smallest, largest = sides
    for throw in range(_THROWS):
        side = int(rng.integers(smallest, largest - (largest - smallest) * throw // _THROWS + 1))
        x, y = (int(rng.integers(_MARGIN, room - side - _MARGIN + 1)) for room in size)
        if all(
            x + side + _MARGIN <= other.x
            or other.x + other.side + _MARGIN <= x
            or y + side + _MARGIN <= other.y
            or other.y + other.side + _MARGIN <= y
            for other in taken
        ):
            return Frame(x, y, side)
    return None


def _crowd(rng: np.random.Generator, frame: Frame, width: int, height: int) -> Drawn:
    """Five to eight small shapes of one category, each in its own cell of the frame, under one annotation."""
    category = int(rng.integers(1, len(CATEGORIES) + 1))
    mask = np.zeros((height, width), dtype=bool)
    for cell in rng.permutation(9)[: int(rng.integers(5, 9))]:
        side = int(rng.integers(9, _CROWD_CELL - 1))
        shift_x, shift_y = (int(rng.integers(0, _CROWD_CELL - side)) for _ in range(2))
        x = frame.x + int(cell) % 3 * _CROWD_CELL + shift_x
        y = frame.y + int(cell) // 3 * _CROWD_CELL + shift_y
        mask[y : y + side, x : x + side] = _stencil(category, side)
    return Drawn(category, mask, None)


def _stencil(category: int, side: int) -> np.ndarray:
    """The shape's own pixels, bool [side, side]; it touches all four sides."""
    across = 2 * np.arange(side) + 1 - side
    if category == 1:
        return across[:, None] ** 2 + across[None, :] ** 2 <= side**2
    if category == 2:
        return np.ones((side, side), dtype=bool)
    return np.abs(across)[None, :] <= np.arange(1, side + 1)[:, None]


def _outline(category: int, frame: Frame) -> tuple[float, ...]:
    x, y, side = frame
    if category == 1:
        turns = [math.pi * step / 10 for step in range(20)]
        points = [(x + side / 2 * (1 + math.cos(t)), y + side / 2 * (1 + math.sin(t))) for t in turns]
    elif category == 2:
        points = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
    else:
        points = [(x + side / 2, y), (x + side, y + side), (x, y + side)]
    return tuple(round(float(value), 2) for point in points for value in point)


def _paint(rng: np.random.Generator, pixels: np.ndarray, thing: Drawn) -> None:
    """Fills the shape with one bright colour of its category's family: poor in red, in green, or in blue.

    A model that starts from random weights then learns in tens of steps what outlines alone would take hundreds for.
    In greyscale the outline and the brightness are left.
    """
    colour = rng.integers(200, 256, size=3)
    colour[thing.category - 1] = rng.integers(40, 130)
    pixels[thing.mask] = colour + rng.integers(-5, 6, size=(int(thing.mask.sum()), 1))
