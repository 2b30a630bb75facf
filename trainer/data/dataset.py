"""Decodes images and hands them on as bytes with their boxes; a damaged file becomes a message, not a crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, NamedTuple, Sequence

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from trainer.data.coco import CocoIndex
from trainer.data.sampler import Item
from trainer.errors import DataError

Target = Dict[str, Any]
"""`boxes` float32 [n, 4], left, top, right, bottom in pixels; `labels` int64 [n]; `image_id` int."""


class Sample(NamedTuple):
    """One image, uint8 [3, height, width], and its target."""

    image: torch.Tensor
    target: Target


class BadSample(NamedTuple):
    """Stands for an image that cannot be used: what a worker raises would reach a person as a traceback only."""

    message: str


class Batch(NamedTuple):
    """Images of various sizes, each uint8 [3, height, width], and their targets."""

    images: list[torch.Tensor]
    targets: list[Target]


class CocoBoxes(Dataset):
    """The images and boxes of an index, read from `folder`; asked for by `Item`, so workers need not know the epoch."""

    def __init__(self, index: CocoIndex, folder: Path) -> None:
        self._index = replace(index, ground_truth=None)  # workers have no use for it, and some are sent a copy
        self._folder = folder

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, item: Item) -> Sample | BadSample:
        """The image and its boxes, mirrored if the item says so; a BadSample if its file cannot be used."""
        index, position = self._index, item.position
        image_id, path = int(index.image_ids[position]), self._folder / str(index.file_names[position])
        width, height = int(index.widths[position]), int(index.heights[position])
        try:
            with Image.open(path) as picture:
                if picture.size != (width, height):
                    return BadSample(
                        f"{path}: image {image_id} is {picture.size[0]}x{picture.size[1]} pixels, its annotation says "
                        f"{width}x{height}; fetch the images and the annotations of the same release"
                    )
                pixels = np.asarray(picture.convert("RGB"))
        except MemoryError:
            raise
        except Exception as error:  # a decoder may raise anything at all on a damaged file
            return BadSample(
                f"{path}: image {image_id} cannot be read: {type(error).__name__}: {error}; fetch the file again"
            )
        boxes, labels = (array.copy() for array in index.boxes_of(position))
        if item.flip:
            pixels = pixels[:, ::-1]
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        target = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels), "image_id": image_id}
        return Sample(image, target)


def collate(samples: Sequence[Sample | BadSample]) -> Batch | BadSample:
    """Makes a batch of samples; the first bad one, if there is any, takes its place."""
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, BadSample):
            return sample
        good.append(sample)
    return Batch([sample.image for sample in good], [sample.target for sample in good])


def require_batch(batch: Batch | BadSample) -> Batch:
    """Returns the batch that a loader gave; raises DataError with the message of the image that made it a bad one."""
    if isinstance(batch, BadSample):
        raise DataError(batch.message)
    return batch
