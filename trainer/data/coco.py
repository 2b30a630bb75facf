"""Turns COCO's annotations into compact arrays of boxes, by the rules of torchvision's reference training."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from pycocotools.coco import COCO

from trainer.data.annotations import annotation_file, read_annotations
from trainer.errors import DataError


@dataclass(frozen=True)
class CocoIndex:
    """The images of a split, in the order of their ids, and the boxes that a model can learn from.

    The boxes of the image at position i are the rows `box_offsets[i]` to `box_offsets[i + 1]` of `boxes` and `labels`.
    Arrays are read-only: N images, M boxes, no Python object per box, so that loader workers share their memory.
    """

    split: str
    image_ids: np.ndarray
    """int64 [N]"""
    widths: np.ndarray
    """int32 [N], pixels"""
    heights: np.ndarray
    """int32 [N], pixels"""
    file_names: np.ndarray
    """str [N], relative to the split's folder"""
    box_offsets: np.ndarray
    """int64 [N + 1]"""
    boxes: np.ndarray
    """float32 [M, 4], left, top, right, bottom in pixels, within the image, of neither zero size nor a crowd"""
    labels: np.ndarray
    """int64 [M], category ids"""
    counts: Mapping[str, Any]
    """For the evidence: what was listed, what is left, and what was dropped for which reason"""
    ground_truth: COCO | None
    """Every annotation of the file, crowds and all, to score against; None for training"""

    def __len__(self) -> int:
        return len(self.image_ids)

    def boxes_of(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes, float32 [n, 4], and labels, int64 [n], of the image at that position."""
        rows = slice(self.box_offsets[position], self.box_offsets[position + 1])
        return self.boxes[rows], self.labels[rows]


def load_index(root: Path, split: str, *, num_classes: int, training: bool) -> CocoIndex:
    """Reads and checks `annotations/instances_{split}.json` under `root` and returns its index.

    Training drops images without a box of more than one pixel each way (a crowd's box counts), which leaves 117,266 of
    COCO's 118,287; validation keeps every image and the ground truth. Boxes of crowds and boxes of zero size are no
    targets; boxes that reach out of the image are clipped. All of it is counted in `counts`.
    Raises DataError for whatever `read_annotations` refuses, and where no box is left to train on or to score.
    """
    coco = _quiet_coco(read_annotations(root, split, num_classes=num_classes))
    image_ids, dropped = _usable_images(coco) if training else (sorted(coco.imgs), {})
    annotations = [coco.imgToAnns.get(image_id, []) for image_id in image_ids]
    sizes = np.array([(coco.imgs[i]["width"], coco.imgs[i]["height"]) for i in image_ids], dtype=np.int32)
    sizes = sizes.reshape(-1, 2)
    per_image = np.array([len(entries) for entries in annotations], dtype=np.int64)
    owners = np.repeat(np.arange(len(image_ids)), per_image)
    boxes, labels, keep, reasons, clipped = _boxes(
        [entry for entries in annotations for entry in entries], sizes[owners]
    )
    if not len(boxes):
        raise DataError(
            f"{annotation_file(root, split)}: of {len(coco.imgs)} images and {len(coco.anns)} boxes listed no box is "
            f"left to {'train on' if training else 'score'} (images dropped: {dropped}, boxes dropped: {reasons}); "
            "use a data set with boxes"
        )
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners[keep], minlength=len(image_ids)))])
    counts = {
        "images": len(image_ids),
        "images_listed": len(coco.imgs),
        "dropped": dropped,
        "boxes": len(boxes),
        "boxes_listed": len(coco.anns),
        "boxes_dropped": {**reasons, "of_dropped_image": len(coco.anns) - len(keep)},
        "boxes_clipped": clipped,
    }
    return CocoIndex(
        split=split,
        image_ids=_frozen(np.array(image_ids, dtype=np.int64)),
        widths=_frozen(np.ascontiguousarray(sizes[:, 0])),
        heights=_frozen(np.ascontiguousarray(sizes[:, 1])),
        file_names=_frozen(np.array([coco.imgs[image_id]["file_name"] for image_id in image_ids], dtype=str)),
        box_offsets=_frozen(offsets.astype(np.int64)),
        boxes=_frozen(boxes),
        labels=_frozen(labels),
        counts=counts,
        ground_truth=None if training else coco,
    )


def _quiet_coco(content: dict[str, Any]) -> COCO:
    """pycocotools' own index of the annotations, without what it prints on the way."""
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _usable_images(coco: COCO) -> tuple[list[int], dict[str, int]]:
    """Ids of the images to train on, sorted, and how many were dropped for which reason."""
    usable: list[int] = []
    dropped = {"no_box": 0, "no_box_above_one_pixel": 0}
    for image_id in sorted(coco.imgs):
        entries = coco.imgToAnns.get(image_id, [])
        if any(entry["bbox"][2] > 1 and entry["bbox"][3] > 1 for entry in entries):
            usable.append(image_id)
        else:
            dropped["no_box_above_one_pixel" if entries else "no_box"] += 1
    return usable, dropped


def _boxes(
    entries: list[dict[str, Any]], sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int], int]:
    """Targets among the entries: boxes [M, 4], labels [M], which entries they are, drops by reason, number clipped.

    `sizes` is the width and height of each entry's image. The sums are made in float32, as torchvision's reference
    makes them, so that a box is the same to the last bit.
    """
    corners = np.array([entry["bbox"] for entry in entries], dtype=np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    clipped = np.clip(corners, np.float32(0), np.tile(sizes, 2).astype(np.float32))
    crowd = np.array([entry["iscrowd"] for entry in entries], dtype=bool)
    flat = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    keep = ~crowd & ~flat
    reasons = {
        "crowd": int(crowd.sum()),
        "zero_size": int((flat & ~crowd).sum()),
    }
    changed = (clipped != corners).any(axis=1)
    labels = np.array([entry["category_id"] for entry in entries], dtype=np.int64)
    return clipped[keep], labels[keep], keep, reasons, int(changed[keep].sum())


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
