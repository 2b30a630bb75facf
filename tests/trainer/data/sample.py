"""A tiny data set in COCO's layout, good as it stands, for tests to change and break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def image(image_id: int, width: int = 64, height: int = 48, **changes: Any) -> dict[str, Any]:
    return {"id": image_id, "file_name": f"{image_id:012d}.jpg", "width": width, "height": height, **changes}


def box(annotation_id: int, image_id: int, xywh: Any = (4.0, 5.0, 20.0, 10.0), **changes: Any) -> dict[str, Any]:
    """An annotation with a polygon, as COCO's have one."""
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": list(xywh) if isinstance(xywh, tuple) else xywh,
        "area": 200.0,
        "iscrowd": 0,
        "segmentation": [[4.0, 5.0, 24.0, 5.0, 24.0, 15.0]],
        **changes,
    }


def good() -> dict[str, Any]:
    """Three images; the second has a box and a crowd, the third has none."""
    return {
        "info": {},
        "licenses": [],
        "images": [image(7), image(3, 48, 64), image(12)],
        "annotations": [
            box(1, 7),
            box(2, 3, (0.0, 0.0, 10.5, 20.25), category_id=3),
            box(3, 3, (1.0, 2.0, 30.0, 30.0), iscrowd=1, segmentation={"counts": [0, 3072], "size": [64, 48]}),
            box(4, 7, (30.0, 20.0, 8.0, 9.0), category_id=2),
        ],
        "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}, {"id": 3, "name": "three"}],
    }


def write(root: Path, content: Any, split: str = "train2017") -> Path:
    """Writes the annotation file, and a JPEG for every image that can have one; returns the annotation file."""
    (root / split).mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    for entry in content["images"] if isinstance(content, dict) and isinstance(content.get("images"), list) else []:
        try:
            write_jpeg(root / split / entry["file_name"], entry["width"], entry["height"], seed=entry["id"] % 2**32)
        except (TypeError, KeyError, ValueError, OSError):
            continue  # an entry that is broken on purpose
    file = root / "annotations" / f"instances_{split}.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def write_jpeg(path: Path, width: int, height: int, seed: int = 0) -> None:
    pixels = np.random.RandomState(seed).randint(0, 256, size=(height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")
