"""Loading as in the published runs, for `--recipe flagperf`: polygons decoded into masks, floats made in the loader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import functional

from trainer.data.annotations import annotation_file, read_annotations
from trainer.data.coco import CocoIndex, are_flat
from trainer.data.dataset import BadSample, Target, decode
from trainer.data.sampler import Item
from trainer.errors import DataError
from trainer.settings import Settings

Annotations = Dict[int, List[Dict[str, Any]]]
"""By image id, its annotations as the file has them, crowds left out."""


class PublishedSample(NamedTuple):
    """One image, mirrored if that was wanted, uint8 or float32 [3, height, width], and its target.

    Where masks are decoded, a target has `masks` uint8 [n, height, width], `area` float32 [n] and `iscrowd` int64 [n]
    too, and its `image_id` is int64 [1].
    """

    image: torch.Tensor
    target: Target


class PublishedBatch(NamedTuple):
    """Images of various sizes and their targets, each in tensors of its own."""

    images: list[torch.Tensor]
    targets: list[Target]
    oriented: None = None
    """Not counted: see Batch"""

    @property
    def image_ids(self) -> np.ndarray:
        """The ids of the images, int64 [images]."""
        return np.array([int(target["image_id"]) for target in self.targets], dtype=np.int64)


def collate_published(samples: Sequence[PublishedSample | BadSample]) -> PublishedBatch | BadSample:
    """Makes a batch of samples; the first bad one, if there is any, takes its place."""
    good = [one for one in samples if isinstance(one, PublishedSample)]
    if len(good) < len(samples):
        return next(one for one in samples if isinstance(one, BadSample))
    return PublishedBatch([sample.image for sample in good], [sample.target for sample in good])


class PublishedImages(Dataset):
    """The images of an index with their boxes and, where `annotations` are given, the masks that these outline.

    With `floats` images are float32 of 0..1, else bytes. Every worker has all of the annotations, as Python's objects,
    and every time that it looks at one, the memory that it shared with the others becomes a little more its own.
    """

    collate = staticmethod(collate_published)

    def __init__(self, index: CocoIndex, folder: Path, *, annotations: Annotations | None, floats: bool) -> None:
        self._index = replace(index, ground_truth=None)
        self._folder = folder
        self._annotations = annotations
        self._floats = floats

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, item: Item) -> PublishedSample | BadSample:
        """The image and its target, mirrored if the item says so; a BadSample if its file cannot be used."""
        image = decode(self._index, self._folder, item.position, _tensor_of)
        if isinstance(image, BadSample):
            return image
        image_id = int(self._index.image_ids[item.position])
        if self._annotations is None:
            boxes, labels = (torch.from_numpy(array.copy()) for array in self._index.boxes_of(item.position))
            target: Target = {"boxes": boxes, "labels": labels, "image_id": image_id}
        else:
            try:
                target = _target_of(image_id, self._annotations[image_id], *image.shape[1:])
            except DataError as error:
                file = self._folder / str(self._index.file_names[item.position])
                return BadSample(
                    f"{file}: image {image_id}: {error}; correct the annotations, or leave masks away (without "
                    "--without=boxes_only)"
                )
        if item.flip:
            image = image.flip(-1)
            target["boxes"][:, [0, 2]] = image.shape[2] - target["boxes"][:, [2, 0]]
            if "masks" in target:
                target["masks"] = target["masks"].flip(-1)
        return PublishedSample(functional.convert_image_dtype(image) if self._floats else image, target)


def _tensor_of(picture: Image.Image) -> torch.Tensor:
    # Contiguous, as to_tensor gives it: older versions of torch resize another layout to other bits.
    tensor: torch.Tensor = functional.pil_to_tensor(picture.convert("RGB")).contiguous()
    return tensor


def published_images(settings: Settings, index: CocoIndex, *, floats: bool = False) -> PublishedImages | None:
    """Return the images of a split with masks or as floats, if the settings (or `floats`) want that; else None.

    Loaded as in torchvision's reference training (coco_utils.py). Raises DataError if masks are wanted and missing.
    """
    wants_masks, wants_floats = not settings.uses("boxes_only"), floats or not settings.uses("bytes_on_device")
    if not wants_masks and not wants_floats:
        return None
    root = settings.data
    annotations = read_outlines(root, index, num_classes=settings.num_classes) if wants_masks else None
    return PublishedImages(index, root / index.split, annotations=annotations, floats=wants_floats)


def _target_of(image_id: int, annotations: Sequence[dict[str, Any]], height: int, width: int) -> Target:
    boxes = torch.as_tensor([one["bbox"] for one in annotations], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2].clamp_(min=0, max=width)
    boxes[:, 1::2].clamp_(min=0, max=height)
    labels = torch.tensor([one["category_id"] for one in annotations], dtype=torch.int64)
    masks = masks_of(annotations, height, width)
    keep = ~torch.from_numpy(are_flat(boxes.numpy(), np.array([width, height])))
    return {
        "boxes": boxes[keep],
        "labels": labels[keep],
        "masks": masks[keep],
        "image_id": torch.tensor([image_id]),
        "area": torch.tensor([one["area"] for one in annotations], dtype=torch.float32),
        "iscrowd": torch.tensor([one["iscrowd"] for one in annotations], dtype=torch.int64),
    }


def masks_of(annotations: Sequence[dict[str, Any]], height: int, width: int) -> torch.Tensor:
    """Return the pixels of each segmentation, uint8 [n, height, width], 1 inside. Raises DataError."""
    masks = []
    for one in annotations:
        try:
            masks.append(_inside(one["segmentation"], height, width))
        except Exception as error:  # pycocotools raises various things for what is no outline
            raise DataError(
                f"the segmentation of annotation {one['id']} cannot be decoded: {type(error).__name__}: {error}"
            ) from None
    return torch.stack(masks) if masks else torch.zeros((0, height, width), dtype=torch.uint8)


def _inside(segmentation: Any, height: int, width: int) -> torch.Tensor:
    from pycocotools import mask

    packed = isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list)
    inside = mask.decode(segmentation if packed else mask.frPyObjects(segmentation, height, width))
    parts = inside if inside.ndim == 3 else inside[..., np.newaxis]  # run lengths have one part, polygons several
    if parts.shape[:2] != (height, width):
        raise ValueError(f"run lengths of {parts.shape[1]}x{parts.shape[0]} pixels in an image of {width}x{height}")
    return torch.as_tensor(parts, dtype=torch.uint8).any(dim=2)


def read_outlines(root: Path, index: CocoIndex, *, num_classes: int) -> Annotations:
    """Return the annotations of the images that the index of that split has, segmentations and all, without crowds.

    Raises DataError for what `read_annotations` refuses, and for an annotation without a segmentation.
    """
    file = annotation_file(root, index.split)
    content = read_annotations(root, index.split, num_classes=num_classes, keep_segmentations=True)
    found: Annotations = {image_id: [] for image_id in index.image_ids.tolist()}
    for one in content["annotations"]:
        if one["iscrowd"] or one["image_id"] not in found:
            continue
        if not one.get("segmentation"):
            raise DataError(
                f"{file}: annotation {one['id']} has no segmentation, and decoding masks was asked for; use COCO's "
                "instances_*.json, or leave masks away (without --without=boxes_only)"
            )
        found[one["image_id"]].append(one)
    return found
