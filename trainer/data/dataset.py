"""The data set and its collate function: images decoded to bytes, each batch one tensor in shared memory."""

from __future__ import annotations

import itertools
import mmap
import multiprocessing
import os
import stat
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, NamedTuple, Sequence, TypeVar

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from trainer.data.coco import CocoIndex
from trainer.data.sampler import Item
from trainer.errors import DataError

T = TypeVar("T")

_DEEP = {"I": "an integer of 16 or 32 bits", "F": "a float"}
"""Modes of Pillow whose pixels do not fit into 8 bits: `convert("RGB")` cuts them off."""
_EXIF_ORIENTATION = 0x0112
_OTHERS = range(2, 9)
"""EXIF orientations by which a picture is to be shown otherwise than its pixels are stored; 1 is as they are."""
_TURNED = range(5, 9)
"""Those by which its width is to be shown as its height."""

_END_OF_IMAGE = b"\xff\xd9"
_TAIL_BYTES = 64

_PER_WORKER = 5  # two that the loader prefetches from a worker, and those in use
_MOST_BYTES = 2**28  # of a slot: sizes come from the annotation file; larger batches are copied
_FREE, _LENT = 0, 1

_numbers = itertools.count()
_opened: weakref.WeakValueDictionary[int, Slots] = weakref.WeakValueDictionary()

Target = Dict[str, Any]
"""`boxes` float32 [n, 4], left, top, right, bottom in pixels; `labels` int64 [n]; `image_id` int."""


class Sample(NamedTuple):
    """One image as its file has it, whether it is to be mirrored, and its boxes, which are mirrored already."""

    pixels: np.ndarray
    """uint8 [height, width, 3]"""
    mirrored: bool
    boxes: np.ndarray
    """float32 [n, 4]"""
    labels: np.ndarray
    """int64 [n]"""
    image_id: int
    oriented: bool = False
    """Whether its EXIF orientation, which is ignored, is another than 1"""


class BadSample(NamedTuple):
    """Stands for an image that cannot be used; raised in the rank, not in a worker, whose errors come as tracebacks."""

    message: str


class Row(NamedTuple):
    """One image of a batch: its size in pixels, whether it is mirrored, its number of boxes, and Sample.oriented."""

    image_id: int
    height: int
    width: int
    mirrored: int
    boxes: int
    oriented: int


class Batch(NamedTuple):
    """Images of various sizes with their boxes in as few tensors as possible: each costs time in the workers' queue.

    `trainer.loop.staging` makes floats of them on the device; `images` and `targets` are the same images one by one.
    """

    pixels: torch.Tensor
    """uint8 [bytes]: every image [height, width, 3] as decoded, one after the other, none mirrored yet"""
    boxes: torch.Tensor
    """float32 [boxes of all images, 4]"""
    labels: torch.Tensor
    """int64 [boxes of all images]"""
    table: np.ndarray
    """int64 [images, 6]: a `Row` for each image"""

    @property
    def rows(self) -> list[Row]:
        """The table as a list of rows."""
        return [Row(*row) for row in self.table.tolist()]

    @property
    def image_ids(self) -> np.ndarray:
        """The ids of the images, int64 [images]."""
        ids: np.ndarray = self.table[:, 0]
        return ids

    @property
    def oriented(self) -> int:
        """The number of images whose EXIF orientation, which is ignored, is another than 1."""
        return int(self.table[:, -1].sum())

    @property
    def decoded(self) -> list[torch.Tensor]:
        """Views of `pixels`, uint8 [height, width, 3], as the files have them."""
        return cut(self.pixels, self.rows)

    @property
    def images(self) -> list[torch.Tensor]:
        """The images as the model is to see them, uint8 [3, height, width], mirrored where that is wanted."""
        planes = [one.permute(2, 0, 1) for one in self.decoded]
        return [one.flip(2) if row.mirrored else one for one, row in zip(planes, self.rows)]

    @property
    def targets(self) -> list[Target]:
        """The target of each image; boxes and labels are views."""
        boxes, labels = cut_boxes(self.boxes, self.rows), cut_boxes(self.labels, self.rows)
        return [
            {"boxes": box, "labels": label, "image_id": row.image_id}
            for box, label, row in zip(boxes, labels, self.rows)
        ]


def cut(pixels: torch.Tensor, rows: Sequence[Row]) -> list[torch.Tensor]:
    """Returns the images of a batch, uint8 [height, width, 3]: views of its `pixels`, on whichever device."""
    parts = torch.split(pixels, [row.height * row.width * 3 for row in rows])
    return [part.reshape(row.height, row.width, 3) for part, row in zip(parts, rows)]


def cut_boxes(of_all: torch.Tensor, rows: Sequence[Row]) -> list[torch.Tensor]:
    """Returns each image's own rows of a batch's `boxes` or `labels`, as views."""
    return list(torch.split(of_all, [row.boxes for row in rows]))


class Lent(NamedTuple):
    """A slot that a worker has filled; its pickle is received as a tensor by the process that made the slots."""

    slots: int
    slot: int
    array: np.ndarray

    def __reduce__(self) -> tuple[Callable[..., torch.Tensor], tuple[int, int, int]]:
        return _received, (self.slots, self.slot, len(self.array))


class Slots:
    """Reused shared memory for batches, `size` bytes a slot: new pages cost more time than filling them.

    Shared by a process and its forked workers. A slot is lent from when a worker takes it until the last tensor or view
    of it in the other process is freed. Pages that were never written take no memory.
    """

    def __init__(self, workers: int, size: int) -> None:
        self._owner = os.getpid()
        self._size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(-1, workers * _PER_WORKER * self._size)
        self._state = mmap.mmap(-1, workers * _PER_WORKER)
        self._number = next(_numbers)
        _opened[self._number] = self

    def lend(self, size: int) -> Lent | None:
        """Return a free slot of this worker, its first `size` bytes; None if none is free or large enough.

        None also in a process that is not a worker.
        """
        worker = get_worker_info()
        if worker is None or size > self._size or size == 0:
            return None
        for slot in range(worker.id * _PER_WORKER, (worker.id + 1) * _PER_WORKER):
            if self._state[slot] == _FREE:
                self._state[slot] = _LENT
                return Lent(self._number, slot, self._array(slot, size))
        return None

    def receive(self, slot: int, size: int) -> torch.Tensor:
        """Return the bytes in a worker's slot, uint8 [size]; freeing the tensor frees the slot."""
        array = self._array(slot, size)
        # The tensor keeps the array alive for as long as any view of its memory is in use.
        weakref.finalize(array, self._give_back, slot).atexit = False
        return torch.from_numpy(array)

    def _give_back(self, slot: int) -> None:
        # A process forked meanwhile has a copy of the array; freeing that does not free the slot.
        if os.getpid() == self._owner:
            self._state[slot] = _FREE

    def _array(self, slot: int, size: int) -> np.ndarray:
        return np.frombuffer(self._memory, dtype=np.uint8, count=size, offset=slot * self._size)


def _received(slots: int, slot: int, size: int) -> torch.Tensor:
    return _opened[slots].receive(slot, size)


def slots_for(workers: int, size: int) -> Slots | None:
    """Return slots for batches of up to `size` bytes; None if memory cannot be shared, or there is not enough."""
    if not workers or not can_share():
        return None
    try:
        return Slots(workers, min(size, _MOST_BYTES))
    except (OSError, OverflowError, ValueError):
        return None


def can_share() -> bool:
    """Whether workers are forked, and so share memory mapped before."""
    return multiprocessing.get_start_method() == "fork"


def collate(samples: Sequence[Sample | BadSample], slots: Slots | None = None) -> Batch | BadSample:
    """Makes a batch of samples, or returns the first bad one.

    With a free slot of `slots`, a worker writes the pixels there; they are a tensor when received from the queue.
    """
    good = [one for one in samples if isinstance(one, Sample)]
    if len(good) < len(samples):
        return next(one for one in samples if isinstance(one, BadSample))
    table = [(one.image_id, *one.pixels.shape[:2], one.mirrored, len(one.boxes), one.oriented) for one in good]
    decoded = [one.pixels.reshape(-1) for one in good]
    lent = slots.lend(sum(map(len, decoded))) if slots is not None else None
    if lent is None:
        pixels: Any = torch.from_numpy(np.concatenate(decoded))
    else:
        np.concatenate(decoded, out=lent.array)
        pixels = lent
    return Batch(
        pixels,
        torch.from_numpy(np.concatenate([one.boxes for one in good])),
        torch.from_numpy(np.concatenate([one.labels for one in good])),
        np.array(table, dtype=np.int64),
    )


class CocoBoxes(Dataset):
    """The images and boxes of an index, read from `folder`; asked for by `Item`, so workers need not know the epoch."""

    collate = staticmethod(collate)

    def __init__(self, index: CocoIndex, folder: Path) -> None:
        self._index = replace(index, ground_truth=None)  # workers do not need it, and may be sent a copy
        self._folder = folder

    def __len__(self) -> int:
        return len(self._index)

    @property
    def largest_bytes(self) -> int:
        """Bytes of the largest image's pixels."""
        return 3 * int((self._index.widths.astype(np.int64) * self._index.heights).max())

    def __getitem__(self, item: Item) -> Sample | BadSample:
        """The image and its boxes, mirrored if the item says so; a BadSample if its file cannot be used."""
        found = decode(self._index, self._folder, item.position, _pixels_and_oriented)
        if isinstance(found, BadSample):
            return found
        pixels, oriented = found
        boxes, labels = self._index.boxes_of(item.position)
        if item.flip:
            boxes = boxes.copy()
            boxes[:, [0, 2]] = pixels.shape[1] - boxes[:, [2, 0]]
        return Sample(pixels, item.flip, boxes, labels, int(self._index.image_ids[item.position]), oriented)


def decode(index: CocoIndex, folder: Path, position: int, read: Callable[[Image.Image], T]) -> T | BadSample:
    """Returns `read` of the opened image; a BadSample if the file cannot be used."""
    # Texts and numbers, since a stack dump of a worker that hangs here shows these.
    image_id, name = int(index.image_ids[position]), str(index.file_names[position])
    path, (width, height) = folder / name, (int(index.widths[position]), int(index.heights[position]))
    try:
        with open(path, "rb", opener=_without_waiting) as file, _open(file) as picture:
            if picture.size != (width, height):
                turned = picture.size == (height, width) and _orientation(picture) in _TURNED
                why = (
                    ": its EXIF orientation says that it is to be shown turned, and its boxes are of the turned "
                    "picture; turn its pixels (exiftran -ai, or Pillow's ImageOps.exif_transpose)"
                    if turned
                    else "; fetch the images and the annotations of the same release"
                )
                return BadSample(
                    f"{path}: image {image_id} is {picture.size[0]}x{picture.size[1]} pixels, its annotation says "
                    f"{width}x{height}{why}"
                )
            depth = _DEEP.get(picture.mode.split(";")[0])
            if depth is not None:
                return BadSample(
                    f"{path}: image {image_id} has {depth} a pixel (Pillow's mode {picture.mode}), which the "
                    "conversion to 8 bits a channel would cut off; convert it to 8 bits, scaled as is meant"
                )
            if picture.format == "JPEG" and _ends_before_its_end(file):
                raise OSError("its end is zeros, as of a transfer that was not finished")
            return read(picture)
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise anything at all on a damaged file
        return BadSample(
            f"{path}: image {image_id} cannot be read: {type(error).__name__}: {error}; fetch the file again"
        )


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a FIFO too, which otherwise waits until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _open(file: BinaryIO) -> Image.Image:
    """Return the picture in an open file. Raises OSError for what is not a plain file, and as Pillow does."""
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        raise OSError("it is not a plain file, but a FIFO, a socket or a device")
    return Image.open(file)


def _ends_before_its_end(file: BinaryIO) -> bool:
    """Whether zeros stand where a JPEG's last marker should: decoders fill up such a picture with grey, in silence."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - _TAIL_BYTES))
    if file.read().strip(b"\0"):
        return False
    file.seek(0)
    return not file.read().rstrip(b"\0").endswith(_END_OF_IMAGE)  # some writers pad behind it


def _orientation(picture: Image.Image) -> Any:
    """Return the EXIF orientation of a picture, None without one; a PNG's is known once the picture was loaded."""
    try:
        return picture.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # a damaged EXIF block may raise anything
        return None


def pixels_of(picture: Image.Image) -> np.ndarray:
    """Returns the pixels of an open image, uint8 [height, width, 3], read-only."""
    picture.load()  # raises for a damaged file here: numpy before 1.23 swallows the error
    # Pillow's convert copies an image that is RGB already.
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _pixels_and_oriented(picture: Image.Image) -> tuple[np.ndarray, bool]:
    return pixels_of(picture), _orientation(picture) in _OTHERS


def require_batch(batch: Any) -> Any:
    """Returns the batch; raises DataError with the message of a BadSample."""
    if isinstance(batch, BadSample):
        raise DataError(batch.message)
    return batch
