"""A data set as COCO has them, for benchmarks of loading: pictures of 640x480 pixels, about 160 kB, seven outlines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 640, 480
OUTLINES = 7
_CORNERS = 25  # of an outline; in COCO's training images a polygon has about so many
_QUALITY = 90


def write_pictures(root: Path, *, images: int, split: str = "train2017") -> Path:
    """Write `images` pictures with their annotations and return `root`."""
    (root / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    entries, annotations = [], []
    for image_id in range(1, images + 1):
        rng = np.random.RandomState(image_id)
        name = f"{image_id:012d}.jpg"
        Image.fromarray(_pixels(rng)).save(root / split / name, "JPEG", quality=_QUALITY)
        entries.append({"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT})
        annotations += [_annotation(rng, len(annotations) + 1 + one, image_id) for one in range(OUTLINES)]
    content = {
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": number, "name": str(number)} for number in range(1, 91)],
    }
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def _pixels(rng: np.random.RandomState) -> np.ndarray:
    """Soft colours under noise, as much as gives a picture's file the size that photographs have, uint8."""
    patches = Image.fromarray(rng.randint(0, 256, (12, 16, 3)).astype(np.uint8)).resize((WIDTH, HEIGHT), Image.BICUBIC)
    noise = rng.normal(0, 16.5, (HEIGHT, WIDTH, 1)) + rng.normal(0, 2, (HEIGHT, WIDTH, 3))
    return np.clip(np.asarray(patches) + noise, 0, 255).astype(np.uint8)


def _annotation(rng: np.random.RandomState, annotation_id: int, image_id: int) -> dict[str, Any]:
    radius, angles = rng.uniform(20, 110), np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    x, y = rng.uniform(radius, WIDTH - radius), rng.uniform(radius, HEIGHT - radius)
    reach = radius * rng.uniform(0.6, 1.0, _CORNERS)
    corners = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)
    low, size = corners.min(axis=0), np.ptp(corners, axis=0)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": int(rng.randint(1, 91)),
        "bbox": [*low.tolist(), *size.tolist()],
        "area": float(size.prod()) / 2,
        "iscrowd": 0,
        "segmentation": [corners.reshape(-1).round(2).tolist()],
    }
