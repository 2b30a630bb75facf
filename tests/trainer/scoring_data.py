"""A made-up ground truth and detections on it, with everything that scoring has to get right."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from trainer.data.coco import GroundTruth

SIDE = 640
SMALL, LARGE = 32.0**2, 96.0**2
"""The bounds of COCO's area ranges, each of which has both of its bounds."""


def made_up(images: int, per_image: int = 100, *, categories: int = 80, seed: int = 0) -> tuple[dict, np.ndarray]:
    """Return the content of an annotation file and detections, float64 [n, 7], on its images.

    About seven boxes an image of one to five of the categories, a few of them common and most rare; one box in 80 is a
    crowd. The first annotation has the id 0, every 97th image no box, every 89th no detection, every 50th half as many
    again. Two thirds of an image's detections lie near its boxes; every third image's scores are rounded, so that many
    are alike. Every fifth image has areas on the bounds of the area ranges, every seventh detections of such sizes.
    """
    rng = np.random.RandomState(seed)
    labels = np.sort(rng.choice(np.arange(1, 91), categories, replace=False))
    common = 1 / np.arange(1, categories + 1)
    common /= common.sum()
    annotations: list[dict[str, Any]] = []
    found: list[np.ndarray] = []
    for image in range(1, images + 1):
        count = 0 if image % 97 == 0 else min(rng.poisson(7.3), 40)
        own = rng.choice(labels, min(categories, rng.randint(1, 6)), replace=False, p=common)
        boxes, of_boxes = _boxes(rng, count).round(2), rng.choice(own, count)
        areas = (boxes[:, 2] * boxes[:, 3] * rng.uniform(0.4, 1, count)).round(4)
        if image % 5 == 0:
            areas[:2] = (SMALL, LARGE)[:count]
        for box, label, area, crowd in zip(boxes, of_boxes, areas, rng.rand(count) < 1 / 80):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": box.tolist(),
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
        if image % 89:
            wanted = per_image + per_image // 2 * (image % 50 == 0)
            found.append(_detections(rng, image, wanted, boxes, of_boxes, rng.choice(labels, wanted, p=common)))
    content = {
        "images": [{"id": image, "width": SIDE, "height": SIDE} for image in range(1, images + 1)],
        "categories": [{"id": int(label), "name": str(label)} for label in labels],
        "annotations": annotations,
    }
    return content, np.concatenate(found)


def _boxes(rng: np.random.RandomState, count: int) -> np.ndarray:
    sizes = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    return np.concatenate([rng.rand(count, 2) * (SIDE - sizes), sizes], axis=1)


def _detections(
    rng: np.random.RandomState, image: int, wanted: int, boxes: np.ndarray, of_boxes: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    near = rng.randint(0, len(boxes), min(4 * len(boxes), 2 * wanted // 3)) if len(boxes) else np.zeros(0, dtype=int)
    off = rng.normal(0, rng.choice([0.02, 0.08, 0.3], (len(near), 1)), (len(near), 4))
    guessed = _boxes(rng, wanted)
    guessed[: len(near), :2] = boxes[near, :2] + off[:, :2] * boxes[near, 2:]
    guessed[: len(near), 2:] = boxes[near, 2:] * np.exp(off[:, 2:])
    if image % 7 == 0:
        guessed[0, 2:], guessed[-1, 2:] = SMALL**0.5, LARGE**0.5
    scores = rng.beta(1, 6, wanted)
    scores[: len(near)] += 0.5 * rng.rand(len(near))
    scores = scores.clip(0.001, 0.999)
    if image % 3 == 0:
        scores = scores.round(2) + 0.001
    labels[: len(near)] = of_boxes[near]
    # To float32, as a detector gives them.
    values = np.column_stack([guessed, scores]).astype(np.float32).astype(np.float64)
    return np.column_stack([np.full(wanted, image), values, labels])


def plain(content: dict, rows: np.ndarray) -> np.ndarray:
    """Return the twelve statistics as pycocotools alone gives them for the same array.

    With annotations numbered from 1: it takes one of id 0 for "no match".
    """
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {**content, "annotations": [{**one, "id": i} for i, one in enumerate(content["annotations"], 1)]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return plainly(truth, rows)


def plainly(truth: Any, rows: np.ndarray) -> np.ndarray:
    """The same for pycocotools' own index of the ground truth."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        scoring = COCOeval(truth, truth.loadRes(rows), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return np.array(scoring.stats)


def truth_of(content: dict) -> GroundTruth:
    """Return the same as arrays."""
    return GroundTruth.of(content)
