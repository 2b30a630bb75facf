"""Scores detections against the ground truth: quickly by faster-coco-eval, and by pycocotools, whose word counts."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterator

import numpy as np

from trainer.data.ground_truth import GroundTruth
from trainer.errors import DataError

if TYPE_CHECKING:
    from trainer.settings import Settings

#: Columns of a detection: image id, x, y, width, height (pixels of the original image), score, category id.
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
        # numpy's maximum of numbers with a NaN among them is NaN, which is no agreement.
        return float(np.max(np.abs(np.subtract(self.stats, other.stats))))


def not_here(settings: Settings) -> dict[str, str]:
    """Return why a run has no use for these optimizations, or cannot have them, by name."""
    if settings.protocol == "steady":
        return dict.fromkeys(("grouped_evaluation", "scored_once", "fast_scoring"), "nothing is evaluated")
    if not settings.uses("scored_once"):
        return {"fast_scoring": "every batch is scored by itself, which pycocotools does"}
    why = fast_is_absent()
    return {"fast_scoring": why} if why else {}


def fast_is_absent() -> str:
    """Return why faster-coco-eval cannot be used; "" where it can: where it finds one box on one image.

    A wheel may not fit the host's libraries, and another version may have another interface: better told when a run
    begins than by its first evaluation, which may be hours away.
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
    """Return the statistics that a COCOeval has come to. Raises DataError where there was no box to find."""
    stats = [float(value) for value in scoring.stats[:12]]
    if stats[0] < 0:
        raise DataError("the validation set has no box that is not a crowd, so mAP is undefined")
    return Score(stats, images, scorer)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep back what both libraries tell of their progress, and of annotation id 0.

    An annotation of that id is never found, by either of them: both read it as "no match".
    """
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found annotation id 0", category=UserWarning)
        yield


def _reference(rows: np.ndarray, truth: GroundTruth) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    given = truth.to_coco()
    return COCOeval(given, given.loadRes(rows) if len(rows) else COCO(), "bbox")


def _fast(rows: np.ndarray, truth: GroundTruth) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    given = truth.to_coco().dataset
    found = {"images": given["images"], "categories": given["categories"], "annotations": _annotations(rows)}
    return COCOeval_faster(COCO(given), COCO(found), "bbox", print_function=_say_nothing)


def _annotations(rows: np.ndarray) -> list[dict[str, Any]]:
    """Return what `loadRes` makes of detections, less the outlines, which boxes have no use for.

    Whole columns become lists at once: taken from an array number by number, they would cost more than the scoring.
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


def _say_nothing(*_: Any) -> None:
    pass
