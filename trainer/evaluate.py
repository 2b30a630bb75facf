"""COCO box AP: inference on every rank's own share of the images, scoring by pycocotools on rank 0."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any, Callable, Iterable

import numpy as np
import torch

from trainer.data.dataset import require_batch
from trainer.devices import Backend
from trainer.errors import DataError
from trainer.ranks import HostGroup
from trainer.steps import to_device

#: Columns of a detection: image id, x, y, width, height (pixels of the original image), score, category id.
COLUMNS = 7


@dataclass(frozen=True)
class Score:
    """Rank 0's result: COCO's twelve statistics, of which the first is the AP that `map` means."""

    stats: list[float]
    images: int

    @property
    def map(self) -> float:
        """Box AP averaged over IoU .50 to .95, all areas, 100 detections an image; 0..1."""
        return self.stats[0]


def detect(
    model: torch.nn.Module,
    batches: Iterable[Any],
    backend: Backend,
    precision: str,
    on_batch: Callable[[int], None],
) -> tuple[np.ndarray, int]:
    """Return this rank's detections, float64 [n, 7] (see COLUMNS), and the number of images it looked at.

    `on_batch` is called with that number after every batch. Raises DataError for an image that cannot be read.
    """
    model.eval()
    rows: list[np.ndarray] = []
    images_seen = 0
    try:
        with torch.no_grad(), backend.autocast(precision):
            for batch in batches:
                images, _ = to_device(require_batch(batch), backend.device)
                outputs = model(images)
                for target, output in zip(batch.targets, outputs):
                    rows.append(_rows(int(target["image_id"]), output))
                images_seen += len(images)
                on_batch(images_seen)
    finally:
        model.train()
    return (np.concatenate(rows) if rows else np.zeros((0, COLUMNS))), images_seen


def _rows(image_id: int, output: Any) -> np.ndarray:
    boxes = output["boxes"].float().cpu().numpy().astype(np.float64)
    rows = np.empty((len(boxes), COLUMNS))
    rows[:, 0] = image_id
    rows[:, 1:3] = boxes[:, :2]
    rows[:, 3:5] = boxes[:, 2:] - boxes[:, :2]
    rows[:, 5] = output["scores"].float().cpu().numpy()
    rows[:, 6] = output["labels"].cpu().numpy()
    return rows


def gather_and_score(
    detections: np.ndarray, images_seen: int, ground_truth: Any, group: HostGroup
) -> tuple[Score | None, float, int]:
    """Return (rank 0's Score, else None; the AP on every rank; the number of images looked at by all ranks)."""
    shares = group.all_gather(detections)
    images_total = int(sum(part[0, 0] for part in group.all_gather(np.array([[float(images_seen)]]))))
    score = score_detections(np.concatenate(shares), ground_truth) if group.ranks.rank == 0 else None
    return score, group.from_rank_0(score.map if score else None), images_total


def score_detections(detections: np.ndarray, ground_truth: Any) -> Score:
    """Score detections [n, 7] against all images of `ground_truth`, a pycocotools COCO object.

    Images without a detection count as missed, not as absent. Raises DataError when the ground truth has no box that
    could be found, since AP is undefined then.
    """
    from pycocotools.cocoeval import COCOeval

    image_ids = sorted(ground_truth.getImgIds())
    if len(detections) == 0:
        return Score([0.0] * 12, len(image_ids))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        found = ground_truth.loadRes(detections)
        scoring = COCOeval(ground_truth, found, "bbox")
        scoring.params.imgIds = image_ids
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    stats = [float(value) for value in scoring.stats]
    if stats[0] < 0:
        raise DataError("the validation set has no box that is not a crowd, so mAP is undefined")
    return Score(stats, len(image_ids))
