"""Makes indexes of as many images as COCO's, and annotation files for them, in seconds and without a picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from trainer.data.coco import CocoIndex

IMAGES = 118_287
"""Of COCO's train2017."""
BOXES_PER_IMAGE = 7
COCO_POINTS = 28
"""Points of a polygon with which a file of IMAGES images is about as long as COCO's own, 448 MB."""

_CATEGORIES = 90
_SIZES = ((640, 480), (640, 427), (480, 640), (500, 375), (427, 640))


def write_large(root: Path, split: str, images: int = IMAGES, points: int = 4) -> Path:
    """Writes the annotation file of `images` images with 4 to 10 boxes each, and an empty file in place of every image.

    One box in 100 is a crowd, one image in 100 has no box. Every polygon is the same, of that many points. Returns the
    annotation file; the same arguments give the same bytes.
    """
    rng = np.random.RandomState(0)
    ids = (5 * np.arange(images) + 9).tolist()
    counts = rng.randint(BOXES_PER_IMAGE - 3, BOXES_PER_IMAGE + 4, images)
    counts[50::100] = 0
    total = int(counts.sum())
    numbers = np.round(rng.uniform((0, 0, 8, 8), (200, 150, 220, 220), (total, 4)), 2).tolist()
    categories, crowd = rng.randint(1, _CATEGORIES + 1, total).tolist(), (rng.randint(0, 100, total) == 0).tolist()
    outline = ",".join(["123.45,67.89"] * points)
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", encoding="ascii") as out:
        out.write('{"info":{},"licenses":[],"images":[')
        out.write(",".join(_image(image_id, *_SIZES[place % len(_SIZES)]) for place, image_id in enumerate(ids)))
        out.write('],"annotations":[')
        owners = np.repeat(ids, counts).tolist()
        out.write(
            ",".join(
                f'{{"segmentation":[[{outline}]],"area":{box[2] * box[3]:.4f},"iscrowd":{int(crowd[place])},'
                f'"image_id":{owners[place]},"bbox":{box},"category_id":{categories[place]},"id":{place + 1}}}'
                for place, box in enumerate(numbers)
            )
        )
        out.write('],"categories":[')
        out.write(",".join(f'{{"id":{number},"name":"c{number}"}}' for number in range(1, _CATEGORIES + 1)))
        out.write("]}")
    _make_files(root / split, [f"{image_id:012d}.jpg" for image_id in ids])
    return file


def _image(image_id: int, width: int, height: int) -> str:
    return (
        f'{{"license":3,"file_name":"{image_id:012d}.jpg","coco_url":"http://images.example/{image_id:012d}.jpg",'
        f'"height":{height},"width":{width},"date_captured":"2013-11-14 17:02:52","id":{image_id}}}'
    )


def _make_files(folder: Path, names: list[str]) -> None:
    """Makes empty files: that a picture is there is all that an index looks for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.close(os.open(str(folder / name), os.O_WRONLY | os.O_CREAT, 0o644))


def large_index(images: int = IMAGES) -> CocoIndex:
    """Returns an index as such a file would give, without any file."""
    rng = np.random.RandomState(0)
    ids = 5 * np.arange(images, dtype=np.int64) + 9
    counts = rng.randint(BOXES_PER_IMAGE - 3, BOXES_PER_IMAGE + 4, images)
    total = int(counts.sum())
    sizes = np.array(_SIZES, dtype=np.int32)[np.arange(images) % len(_SIZES)]
    boxes = np.round(rng.uniform((0, 0, 8, 8), (200, 150, 220, 220), (total, 4)), 2)
    labels = rng.randint(1, _CATEGORIES + 1, total)
    return CocoIndex(
        split="train2017",
        image_ids=ids,
        widths=np.ascontiguousarray(sizes[:, 0]),
        heights=np.ascontiguousarray(sizes[:, 1]),
        file_names=np.array([f"{image_id:012d}.jpg" for image_id in ids.tolist()]),
        box_offsets=np.concatenate([[0], np.cumsum(counts)]),
        boxes=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32),
        labels=labels,
        category_ids=np.arange(1, _CATEGORIES + 1),
        category_names=np.array([f"c{number}" for number in range(1, _CATEGORIES + 1)]),
        counts={"images": images, "images_listed": images},
        ground_truth=None,
    )
