"""COCO's annotations as read-only arrays: boxes to train on, by torchvision's rules, and the ground truth to score."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

from trainer.data.annotations import annotation_file, read_annotations
from trainer.errors import DataError

if TYPE_CHECKING:
    from pycocotools.coco import COCO


_SLIVER = np.float32(2**-21)


@dataclass(frozen=True)
class GroundTruth:
    """The images, categories and annotations of a split, crowds and all; arrays are read-only.

    N images, K categories, A annotations in the order of the file; no Python object per annotation.
    """

    image_ids: np.ndarray
    """int64 [N], in ascending order"""
    category_ids: np.ndarray
    """int64 [K], in the order of the file"""
    ids: np.ndarray
    """int64 [A], of the annotations"""
    image_of: np.ndarray
    """int64 [A], image ids"""
    category_of: np.ndarray
    """int64 [A], category ids"""
    boxes: np.ndarray
    """float64 [A, 4], x, y, width, height in pixels, as the file has them"""
    areas: np.ndarray
    """float64 [A], square pixels, as the file has them"""
    crowd: np.ndarray
    """bool [A]"""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> GroundTruth:
        """Returns the ground truth in an annotation file's content, as `read_annotations` has checked it."""
        entries = content["annotations"]
        return cls(
            image_ids=frozen(np.sort(_column(content["images"], "id", np.int64))),
            category_ids=frozen(_column(content["categories"], "id", np.int64)),
            ids=frozen(_column(entries, "id", np.int64)),
            image_of=frozen(_column(entries, "image_id", np.int64)),
            category_of=frozen(_column(entries, "category_id", np.int64)),
            boxes=frozen(_column(entries, "bbox", np.float64).reshape(-1, 4)),
            areas=frozen(_column(entries, "area", np.float64)),
            crowd=frozen(_column(entries, "iscrowd", bool)),
        )

    def of_images(self, image_ids: np.ndarray) -> GroundTruth:
        """Return the ground truth of some of the images, whose ids are in ascending order."""
        kept = np.isin(self.image_of, image_ids)
        columns = ("ids", "image_of", "category_of", "boxes", "areas", "crowd")
        return replace(self, image_ids=image_ids, **{name: frozen(getattr(self, name)[kept]) for name in columns})

    def numbers_of(self, image_ids: Any) -> np.ndarray:
        """The numbers of these images in `numbered`, int64 [n]."""
        return np.searchsorted(self.image_ids, np.asarray(image_ids, dtype=np.int64)) + 1

    def numbered(self) -> GroundTruth:
        """The same with images and annotations numbered from 1, in the order of the images' ids and of the file.

        Scorers take an annotation of id 0 for "no match", and detections have the id of their image in float64, which
        has not every integer above 2**53.
        """
        return replace(
            self,
            image_ids=frozen(np.arange(1, len(self.image_ids) + 1)),
            ids=frozen(np.arange(1, len(self.ids) + 1)),
            image_of=frozen(self.numbers_of(self.image_of)),
        )

    def to_coco(self) -> COCO:
        """Returns a new pycocotools COCO of it, made without pycocotools' prints."""
        from pycocotools.coco import COCO

        columns = (self.ids, self.image_of, self.category_of, self.boxes, self.areas, self.crowd.astype(np.int64))
        keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image_id} for image_id in self.image_ids.tolist()],
            "categories": [{"id": category_id} for category_id in self.category_ids.tolist()],
            "annotations": [dict(zip(keys, row)) for row in zip(*(column.tolist() for column in columns))],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco


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
    """float32 [M, 4], left, top, right, bottom in pixels, within the image, neither flat (`are_flat`) nor a crowd"""
    labels: np.ndarray
    """int64 [M], category ids"""
    category_ids: np.ndarray
    """int64 [K], of the annotation file, in its order"""
    category_names: np.ndarray
    """str [K], "" for one without a name"""
    counts: Mapping[str, Any]
    """For the evidence: the numbers of images and boxes listed, kept, and dropped by reason"""
    ground_truth: GroundTruth | None
    """Every annotation of the file, crowds and all, to score against; None for training"""

    def __len__(self) -> int:
        return len(self.image_ids)

    def first(self, count: int) -> CocoIndex:
        """Return the index of the first `count` images, with the ground truth of these alone."""
        left_out = len(self) - count
        if left_out <= 0:
            return self
        ids, rows, truth = self.image_ids[:count], self.box_offsets[count], self.ground_truth
        return replace(
            self,
            image_ids=ids,
            widths=self.widths[:count],
            heights=self.heights[:count],
            file_names=self.file_names[:count],
            box_offsets=self.box_offsets[: count + 1],
            boxes=self.boxes[:rows],
            labels=self.labels[:rows],
            counts={
                **self.counts,
                "images": count,
                "dropped": {**self.counts["dropped"], "not_asked_for": left_out},
                "boxes": int(rows),
            },
            ground_truth=None if truth is None else truth.of_images(ids),
        )

    def boxes_of(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes, float32 [n, 4], and labels, int64 [n], of the image at that position."""
        rows = slice(self.box_offsets[position], self.box_offsets[position + 1])
        return self.boxes[rows], self.labels[rows]


def load_index(root: Path, split: str, *, num_classes: int, training: bool) -> CocoIndex:
    """Reads and checks `annotations/instances_{split}.json` under `root` and returns its index (see `make_index`).

    Raises DataError as `read_annotations` does, and if no box is left to train on or to score.
    """
    content = read_annotations(root, split, num_classes=num_classes)
    return make_index(content, annotation_file(root, split), split, training=training)


def make_index(content: Mapping[str, Any], file: Path, split: str, *, training: bool) -> CocoIndex:
    """Returns the index of what `read_annotations` has read from `file`.

    Training drops images without a box of more than one pixel each way (a crowd's box counts), which leaves 117,266 of
    COCO's 118,287; validation keeps every image and the ground truth. Boxes of crowds and boxes of zero size are no
    targets; boxes that reach out of the image are clipped. All of it is counted in `counts`.
    Raises DataError if no box is left to train on or to score.
    """
    images, truth = content["images"], GroundTruth.of(content)
    listed = np.argsort(np.array([image["id"] for image in images], dtype=np.int64))
    place_of = np.searchsorted(truth.image_ids, truth.image_of)
    usable, dropped = _usable_images(truth, place_of) if training else (np.ones(len(images), dtype=bool), {})
    # Of each image's annotations in turn, in the order of the file.
    mine = np.argsort(place_of, kind="stable")
    mine = mine[usable[place_of[mine]]]
    owners = (np.cumsum(usable) - 1)[place_of[mine]]
    sizes = np.array([(image["width"], image["height"]) for image in images], dtype=np.int32)[listed][usable]
    boxes, keep, reasons, clipped = _boxes(truth.boxes[mine], truth.crowd[mine], sizes[owners])
    if not len(boxes):
        raise DataError(
            f"{file}: of {len(images)} images and {len(truth.ids)} boxes listed no box is "
            f"left to {'train on' if training else 'score'} (images dropped: {dropped}, boxes dropped: {reasons}); "
            "use a data set with boxes"
        )
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners[keep], minlength=len(sizes)))])
    counts = {
        "images": len(sizes),
        "images_listed": len(images),
        "dropped": dropped,
        "boxes": len(boxes),
        "boxes_listed": len(truth.ids),
        "boxes_dropped": {**reasons, "of_dropped_image": len(truth.ids) - len(mine)},
        "boxes_clipped": clipped,
        "crowds": int(truth.crowd.sum()),
        "categories": len(truth.category_ids),
    }
    return CocoIndex(
        split=split,
        image_ids=frozen(truth.image_ids[usable]),
        widths=frozen(np.ascontiguousarray(sizes[:, 0])),
        heights=frozen(np.ascontiguousarray(sizes[:, 1])),
        file_names=frozen(np.array([images[place]["file_name"] for place in listed[usable]], dtype=str)),
        box_offsets=frozen(offsets.astype(np.int64)),
        boxes=frozen(boxes),
        labels=frozen(truth.category_of[mine][keep]),
        category_ids=truth.category_ids,
        category_names=frozen(np.array([_name_of(one) for one in content["categories"]], dtype=str)),
        counts=counts,
        ground_truth=None if training else truth,
    )


def require_agreement(root: Path, train: CocoIndex, val: CocoIndex) -> None:
    """Raises DataError where a number stands for one category in one split and for another in the other.

    A name that only one split has is no contradiction under a number that only that split has. Case, spaces, hyphens
    and underscores make no other name.
    """
    ours, theirs = (_names(index) for index in (train, val))
    numbers = {_plain(name): number for number, name in ours.items()}
    for number, name in theirs.items():
        other = numbers.get(_plain(name), number)
        if other != number or _plain(ours.get(number, name)) != _plain(name):
            mine = f"{ours[number]!r}" if number in ours else f"not listed, and {name!r} is {other}"
            raise DataError(
                f"{annotation_file(root, val.split)}: category {number} is {name!r}, and in "
                f"{annotation_file(root, train.split).name} it is {mine}: a model that learns one numbering cannot be "
                "scored by another; use the annotations of one release, or number the categories alike"
            )


def _names(index: CocoIndex) -> dict[int, str]:
    """Names by number, without those that are empty or that several numbers have."""
    pairs = list(zip(index.category_ids.tolist(), index.category_names.tolist()))
    often = Counter(_plain(name) for _, name in pairs)
    return {number: name for number, name in pairs if name and often[_plain(name)] == 1}


def _plain(name: str) -> str:
    return "".join(one for one in name.casefold() if one not in " -_")


def _name_of(category: Mapping[str, Any]) -> str:
    name = category.get("name")
    return name.strip().rstrip("\0") if isinstance(name, str) else ""


def require_sides(root: Path, index: CocoIndex, min_side: int, max_side: int) -> None:
    """Raises DataError for pictures of which nothing is left when torchvision's detectors resize them.

    They resize the shorter side to `min_side`, or the longer one to `max_side` where that is smaller; a side is rounded
    down.
    """
    shorter = np.minimum(index.widths, index.heights).astype(np.float32)
    longer = np.maximum(index.widths, index.heights).astype(np.float32)
    scale = np.minimum(np.float32(min_side) / shorter, np.float32(max_side) / longer)
    lost = np.flatnonzero(shorter.astype(np.float64) * scale < 1)
    if len(lost):
        shown = ", ".join(
            f"{index.file_names[one]} (id {index.image_ids[one]}, {index.widths[one]}x{index.heights[one]})"
            for one in lost[:3].tolist()
        )
        raise DataError(
            f"{annotation_file(root, index.split)}: {len(lost)} of {len(index)} pictures are so narrow that nothing is "
            f"left of them when the model resizes them to {max_side} pixels at most: {shown}"
            f"{', ...' if len(lost) > 3 else ''}; take them out of the annotations"
        )


def _usable_images(truth: GroundTruth, place_of: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Which images to train on, bool [N], and how many were dropped for which reason."""
    large = (truth.boxes[:, 2] > 1) & (truth.boxes[:, 3] > 1)
    usable = np.bincount(place_of[large], minlength=len(truth.image_ids)) > 0
    without_box = np.bincount(place_of, minlength=len(truth.image_ids)) == 0
    dropped = {"no_box": int(without_box.sum()), "no_box_above_one_pixel": int((~usable & ~without_box).sum())}
    return usable, dropped


def _boxes(
    listed: np.ndarray, crowd: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, int], int]:
    """Targets among the boxes listed: corners [M, 4], which of them they are, drops by reason, number clipped.

    `sizes` is the width and height of each one's image. The sums are made in float32, as torchvision's reference
    makes them, so that a box is the same to the last bit.
    """
    corners = listed.astype(np.float32)
    corners[:, 2:] += corners[:, :2]
    clipped = np.clip(corners, np.float32(0), np.tile(sizes, 2).astype(np.float32))
    flat = are_flat(clipped, sizes)
    keep = ~crowd & ~flat
    reasons = {"crowd": int(crowd.sum()), "zero_size": int((flat & ~crowd).sum())}
    changed = (clipped != corners).any(axis=1)
    return clipped[keep], keep, reasons, int(changed[keep].sum())


def are_flat(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which boxes, float32 [n, 4], have no width or no height, bool [n], or so little that they may lose it.

    Mirroring and resizing are done in float32, whose rounding can move a corner by about 2**-23 of the side of the
    picture; torchvision refuses a box whose corners meet. `sizes` is the width and height of each one's picture.
    """
    return (corners[:, 2:] - corners[:, :2] <= np.asarray(sizes, dtype=np.float32) * _SLIVER).any(axis=1)


def frozen(array: np.ndarray) -> np.ndarray:
    """Returns the array, made read-only."""
    array.setflags(write=False)
    return array


def _column(entries: list[Mapping[str, Any]], key: str, dtype: type) -> np.ndarray:
    return np.array([entry[key] for entry in entries], dtype=dtype)
