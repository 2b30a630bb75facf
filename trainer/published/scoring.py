"""Scores as the published runs did: every batch by itself on its rank, the parts pickled for all ranks in the end."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from trainer.data.scoring import COLUMNS, REFERENCE, Score, as_score, quietly, version
from trainer.ranks import HostGroup

if TYPE_CHECKING:
    from trainer.data.ground_truth import GroundTruth


class BatchScores:
    """Scores of one evaluation, batch by batch, as torchvision's reference training has them.

    Every rank has the whole ground truth as Python objects, and comes to the same result by itself.
    """

    def __init__(self, truth: GroundTruth) -> None:
        from pycocotools.cocoeval import COCOeval

        self._truth = truth
        with quietly():
            self._given = truth.to_coco()
            self._scoring = COCOeval(self._given, iouType="bbox")
        self._image_ids: list[int] = []
        self._parts: list[np.ndarray] = []
        self.detections: list[int] = []
        """How many there were on each image, in the order in which their ids come out of `total`"""

    def add(self, image_ids: Sequence[int], outputs: Sequence[Any]) -> None:
        """Match what was found on the images of a batch with what is there."""
        self.add_rows(image_ids, np.concatenate([rows_of_image(*one) for one in zip(image_ids, outputs)]))

    def add_rows(self, image_ids: Sequence[int], rows: np.ndarray) -> None:
        """The same for detections, float64 [n, 7] (see COLUMNS), on these images."""
        from pycocotools.coco import COCO

        # A part has the images in this order, and the parameters have to say so.
        ordered = sorted(set(image_ids))
        self._scoring.params.imgIds = ordered
        with quietly():
            self._scoring.cocoDt = self._given.loadRes(rows) if len(rows) else COCO()
            self._scoring.evaluate()
        parameters = self._scoring.params
        shape = (len(parameters.catIds), len(parameters.areaRng), len(ordered))
        self._image_ids += ordered
        self.detections += [int(np.count_nonzero(rows[:, 0] == image_id)) for image_id in ordered]
        self._parts.append(np.array(self._scoring.evalImgs, dtype=object).reshape(shape))

    def total(self, group: HostGroup) -> tuple[Score, list[list[int]]]:
        """Return the score over the batches of all ranks, and the ids of the images that each rank looked at.

        An image that two ranks looked at counts once. Raises DataError when there is no box that could be found.
        """
        parts = np.concatenate(self._parts, axis=2) if self._parts else None
        shares = all_gather_pickles((self._image_ids, parts), group)
        image_ids = np.array([image_id for ids, _ in shares for image_id in ids], dtype=np.int64)
        every = np.concatenate([part for _, part in shares if part is not None], axis=2)
        _, first = np.unique(image_ids, return_index=True)
        scoring = self._scoring
        scoring.evalImgs = every[:, :, first].ravel().tolist()
        scoring.params.imgIds = image_ids[first].tolist()
        scoring._paramsEval = copy.deepcopy(scoring.params)
        with quietly():
            scoring.accumulate()
            scoring.summarize()
        score = as_score(scoring, len(self._truth.image_ids), f"{REFERENCE} {version(REFERENCE)}")
        return score, [ids for ids, _ in shares]


def all_gather_pickles(value: Any, group: HostGroup) -> list[Any]:
    """Return every rank's value, by rank, pickled on the way: for what only our own processes have made."""
    if group.handle is None:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * group.ranks.world_size
    dist.all_gather_object(values, value, group=group.handle)
    return values


def rows_of_image(image_id: int, output: Any) -> np.ndarray:
    """Return what was found on one image, float64 [n, 7] (see COLUMNS): three copies from the device."""
    boxes = output["boxes"].float().cpu().numpy().astype(np.float64)
    rows = np.empty((len(boxes), COLUMNS))
    rows[:, 0] = image_id
    rows[:, 1:3] = boxes[:, :2]
    rows[:, 3:5] = boxes[:, 2:] - boxes[:, :2]
    rows[:, 5] = output["scores"].float().cpu().numpy()
    rows[:, 6] = output["labels"].cpu().numpy()
    return rows
