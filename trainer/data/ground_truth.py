"""Every annotation of a split as arrays: what detections are scored against."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

if TYPE_CHECKING:
    from pycocotools.coco import COCO


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

    def to_coco(self) -> COCO:
        """Returns pycocotools' own index of it, made anew by every call and without what pycocotools prints."""
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


def frozen(array: np.ndarray) -> np.ndarray:
    """Returns the array, which nobody can write to from now on."""
    array.setflags(write=False)
    return array


def _column(entries: list[Mapping[str, Any]], key: str, dtype: type) -> np.ndarray:
    return np.array([entry[key] for entry in entries], dtype=dtype)
