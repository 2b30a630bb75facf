"""Scores detections against the ground truth: fast by faster-coco-eval, and by pycocotools, the reference."""

from __future__ import annotations

import contextlib
import copy
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

import numpy as np

from trainer.data.coco import GroundTruth
from trainer.errors import DataError
from trainer.ranks import HostGroup

if TYPE_CHECKING:
    import torch

#: Columns of a detection: number of the image (`GroundTruth.numbers_of`: exact in float64, as an id may not be), x, y,
#: width, height (pixels of the original image), score, category id.
COLUMNS = 7

REFERENCE, FAST = "pycocotools", "faster-coco-eval"

_CERTAIN = 1e-9


@dataclass(frozen=True)
class Score:
    """COCO's twelve statistics, of which the first is the AP that `map` means, and what computed them."""

    stats: list[float]
    images: int
    scorer: str

    @property
    def map(self) -> float:
        """Box AP averaged over IoU .50 to .95, all areas, 100 detections an image; 0..1."""
        return self.stats[0]

    def difference(self, other: Score) -> float:
        """The largest absolute difference between two scores' statistics."""
        # np.max propagates NaN, which is not below any limit.
        return float(np.max(np.abs(np.subtract(self.stats, other.stats))))


def fast_is_absent() -> str:
    """Return why faster-coco-eval cannot be used; "" if it scores one box on one image.

    Called when a run begins, before its first evaluation, which may be hours away: a wheel may not fit the host's
    libraries, and another version may have another interface.
    """
    if not version(FAST):
        return f"{FAST} is not installed"
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1.0, 1.0, 8.0, 8.0], "area": 64.0, "iscrowd": 0}
    truth = GroundTruth.of({"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [box]})
    try:
        found = _score(np.array([[1.0, 1.0, 1.0, 8.0, 8.0, 0.9, 1.0]]), truth, FAST).map
    except Exception as error:
        return f"{FAST} {version(FAST)} cannot be used: {type(error).__name__}: {error}"
    return "" if abs(found - 1.0) < _CERTAIN else f"{FAST} {version(FAST)} gave a box that was found an AP of {found}"


def version(package: str) -> str:
    """Return the version of an installed package; "" where it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def score_rows(rows: np.ndarray, truth: GroundTruth, *, fast: bool) -> Score:
    """Score detections, float64 [n, 7] (see COLUMNS), against all images of the ground truth.

    By faster-coco-eval if `fast` and it can be used, else by pycocotools. Images without a detection count as missed,
    not as absent. Raises DataError when the ground truth has no box that could be found, since AP is undefined then.
    """
    return _score(rows, truth, FAST if fast and not fast_is_absent() else REFERENCE)


def _score(rows: np.ndarray, truth: GroundTruth, name: str) -> Score:
    with quietly():
        scoring = (_fast if name == FAST else _reference)(rows, truth)
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return as_score(scoring, len(truth.image_ids), f"{name} {version(name)}")


def as_score(scoring: Any, images: int, scorer: str) -> Score:
    """Return the statistics of a COCOeval. Raises DataError if there was no box to find."""
    stats = [float(value) for value in scoring.stats[:12]]
    if stats[0] < 0:
        raise DataError("the validation set has no box that is not a crowd, so mAP is undefined")
    return Score(stats, images, scorer)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress both libraries' progress output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _reference(rows: np.ndarray, truth: GroundTruth) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    given = truth.numbered().to_coco()
    return COCOeval(given, given.loadRes(rows) if len(rows) else COCO(), "bbox")


def _fast(rows: np.ndarray, truth: GroundTruth) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    given = truth.numbered().to_coco().dataset
    found = {"images": given["images"], "categories": given["categories"], "annotations": _annotations(rows)}
    return COCOeval_faster(COCO(given), COCO(found), "bbox", print_function=lambda *_: None)


def _annotations(rows: np.ndarray) -> list[dict[str, Any]]:
    """Return detections as `loadRes` makes them, without the segmentations.

    Whole columns become lists at once: reading an array number by number would take longer than the scoring.
    """
    boxes = rows[:, 1:5]
    columns = (
        rows[:, 0].astype(np.int64).tolist(),
        rows[:, 6].astype(np.int64).tolist(),
        boxes.tolist(),
        (boxes[:, 2] * boxes[:, 3]).tolist(),
        rows[:, 5].tolist(),
    )
    return [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, "score": score, "iscrowd": 0}
        for i, (image, label, box, area, score) in enumerate(zip(*columns), 1)
    ]


class BatchScores:
    """Scores an evaluation batch by batch as the published runs did, after torchvision's reference training.

    Every rank has the whole ground truth as Python objects; the parts are pickled to all ranks, which all score them.
    """

    def __init__(self, truth: GroundTruth) -> None:
        from pycocotools.cocoeval import COCOeval

        self._truth = truth
        with quietly():
            self._given = truth.numbered().to_coco()
            self._scoring = COCOeval(self._given, iouType="bbox")
        self._images: list[int] = []
        self._parts: list[np.ndarray] = []
        self.detections: list[int] = []
        """How many there were on each image, in the order in which their ids come out of `total`"""

    def add(self, image_ids: Sequence[int], outputs: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Match the detections on a batch's images with the ground truth."""
        numbers = self._truth.numbers_of(image_ids).tolist()
        self.add_rows(numbers, rows_of(numbers, outputs))

    def add_rows(self, images: Sequence[int], rows: np.ndarray) -> None:
        """The same for detections, float64 [n, 7] (see COLUMNS), on the images of these numbers."""
        from pycocotools.coco import COCO

        # A part has the images in this order, and the parameters have to say so.
        ordered = sorted(set(images))
        self._scoring.params.imgIds = ordered
        with quietly():
            self._scoring.cocoDt = self._given.loadRes(rows) if len(rows) else COCO()
            self._scoring.evaluate()
        parameters = self._scoring.params
        shape = (len(parameters.catIds), len(parameters.areaRng), len(ordered))
        self._images += ordered
        self.detections += [int(np.count_nonzero(rows[:, 0] == image)) for image in ordered]
        self._parts.append(np.array(self._scoring.evalImgs, dtype=object).reshape(shape))

    def total(self, group: HostGroup) -> tuple[Score, list[list[int]]]:
        """Return the score over the batches of all ranks, and the numbers of the images that each rank looked at.

        An image that two ranks looked at counts once. Raises DataError when there is no box that could be found.
        """
        parts = np.concatenate(self._parts, axis=2) if self._parts else None
        shares = all_gather_pickles((self._images, parts), group)
        images = np.array([image for share, _ in shares for image in share], dtype=np.int64)
        every = np.concatenate([part for _, part in shares if part is not None], axis=2)
        _, first = np.unique(images, return_index=True)
        scoring = self._scoring
        scoring.evalImgs = every[:, :, first].ravel().tolist()
        scoring.params.imgIds = images[first].tolist()
        scoring._paramsEval = copy.deepcopy(scoring.params)
        with quietly():
            scoring.accumulate()
            scoring.summarize()
        score = as_score(scoring, len(self._truth.image_ids), f"{REFERENCE} {version(REFERENCE)}")
        return score, [share for share, _ in shares]


def all_gather_pickles(value: Any, group: HostGroup) -> list[Any]:
    """Return every rank's value, by rank, pickled on the way; for values of the trainer's own processes only."""
    if group.handle is None:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * group.ranks.world_size
    dist.all_gather_object(values, value, group=group.handle)
    return values


def rows_of(numbers: Sequence[int], outputs: Sequence[Mapping[str, torch.Tensor]]) -> np.ndarray:
    """Return a batch's detections, float64 [n, 7] (see COLUMNS), in the order of the images of these numbers."""
    import torch

    counts = [len(output["scores"]) for output in outputs]
    boxes, scores, labels = (
        torch.cat([output[name] for output in outputs]).float() for name in ("boxes", "scores", "labels")
    )
    # One tensor to copy: labels are exact in float32.
    values = torch.cat([boxes, scores[:, None], labels[:, None]], dim=1).cpu().numpy().astype(np.float64)
    rows = np.empty((len(values), COLUMNS))
    rows[:, 0] = np.repeat(numbers, counts)
    rows[:, 1:3] = values[:, :2]
    rows[:, 3:5] = values[:, 2:4] - values[:, :2]
    rows[:, 5:] = values[:, 4:]
    return rows
