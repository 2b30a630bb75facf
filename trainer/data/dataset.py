"""Decodes images and hands them on as bytes with their boxes; a damaged file becomes a message, not a crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Sequence, TypeVar

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from trainer.data.coco import CocoIndex
from trainer.data.sampler import Item
from trainer.data.slots import Slots
from trainer.errors import DataError

T = TypeVar("T")

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


class BadSample(NamedTuple):
    """Stands for an image that cannot be used: what a worker raises would reach a person as a traceback only."""

    message: str


class Row(NamedTuple):
    """What a batch knows of one image: its size in pixels, and how many of the batch's boxes are its own."""

    image_id: int
    height: int
    width: int
    mirrored: int
    boxes: int


class Batch(NamedTuple):
    """Images of various sizes with their boxes, in as few tensors as can be: each costs the queue of the workers time.

    `trainer.loop.staging` makes floats of them on the device; `images` and `targets` show the same images one by one.
    """

    pixels: torch.Tensor
    """uint8 [bytes]: every image [height, width, 3] as decoded, one after the other, none mirrored yet"""
    boxes: torch.Tensor
    """float32 [boxes of all images, 4]"""
    labels: torch.Tensor
    """int64 [boxes of all images]"""
    table: np.ndarray
    """int64 [images, 5]: a `Row` for each image"""

    @property
    def rows(self) -> list[Row]:
        """What the batch knows of each image."""
        return [Row(*row) for row in self.table.tolist()]

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


def collate(samples: Sequence[Sample | BadSample], slots: Slots | None = None) -> Batch | BadSample:
    """Makes a batch of samples; the first bad one, if there is any, takes its place.

    A worker with a free slot writes the pixels there, and they are a tensor when its batch comes out of the queue.
    """
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, BadSample):
            return sample
        good.append(sample)
    table = [
        Row(one.image_id, one.pixels.shape[0], one.pixels.shape[1], int(one.mirrored), len(one.boxes)) for one in good
    ]
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
        self._index = replace(index, ground_truth=None)  # workers have no use for it, and some are sent a copy
        self._folder = folder

    def __len__(self) -> int:
        return len(self._index)

    @property
    def largest_bytes(self) -> int:
        """What the pixels of its largest image take."""
        return 3 * int((self._index.widths.astype(np.int64) * self._index.heights).max())

    def __getitem__(self, item: Item) -> Sample | BadSample:
        """The image and its boxes, mirrored if the item says so; a BadSample if its file cannot be used."""
        pixels = decode(self._index, self._folder, item.position, pixels_of)
        if isinstance(pixels, BadSample):
            return pixels
        boxes, labels = self._index.boxes_of(item.position)
        if item.flip:
            boxes = boxes.copy()
            boxes[:, [0, 2]] = pixels.shape[1] - boxes[:, [2, 0]]
        return Sample(pixels, item.flip, boxes, labels, int(self._index.image_ids[item.position]))


def decode(index: CocoIndex, folder: Path, position: int, read: Callable[[Any], T]) -> T | BadSample:
    """Returns what `read` makes of an image, which it is given open; a BadSample if the file cannot be used."""
    image_id, path = int(index.image_ids[position]), folder / str(index.file_names[position])
    width, height = int(index.widths[position]), int(index.heights[position])
    try:
        with Image.open(path) as picture:
            if picture.size != (width, height):
                return BadSample(
                    f"{path}: image {image_id} is {picture.size[0]}x{picture.size[1]} pixels, its annotation says "
                    f"{width}x{height}; fetch the images and the annotations of the same release"
                )
            return read(picture)
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise anything at all on a damaged file
        return BadSample(
            f"{path}: image {image_id} cannot be read: {type(error).__name__}: {error}; fetch the file again"
        )


def pixels_of(picture: Any) -> np.ndarray:
    """Returns the pixels of an open image, uint8 [height, width, 3], read-only."""
    picture.load()  # here a damaged file raises: numpy before 1.23 swallows what is raised while it asks for pixels
    # Asked for what an image is already, Pillow copies it.
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def require_batch(batch: Any) -> Any:
    """Returns the batch that a loader gave; raises DataError with the message of the image that made it a bad one."""
    if isinstance(batch, BadSample):
        raise DataError(batch.message)
    return batch
