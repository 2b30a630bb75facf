"""What the steps worked on: the fingerprint beside every rate, and checks that it was no other, easier workload."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterator, Mapping

from evidence.bundle import Evidence
from evidence.verdict import Workload
from verdict.checks.case import Case
from verdict.metrics.statistics import total

if TYPE_CHECKING:
    import numpy as np

    from evidence.events import Windows

LONGEST_ASPECT = 3.0
"""Of an image; a window whose images are all longer would be no photographs."""
FULL_SAMPLES = 0.9
"""Share of the boxes that a box head is given in a window; torchvision gives fewer only if it has no more."""
DIVERGED = 3.0
"""The loss at the end of a run over that at its beginning."""
_ENDS = 0.1  # share of the steps at each end whose losses are compared
_LEAST_END = 20  # steps
_LEAST_IMAGES = 16


@dataclass(frozen=True)
class Detector:
    """What a model of the suite does to images in training.

    `min_side`, `max_side`: torchvision's resizing, in pixels; `proposals`: at most so many an image from the region
    proposal network; `sampled`: boxes an image that the box head is trained on, a quarter of which may be positive.
    """

    min_side: int
    max_side: int
    proposals: int
    sampled: int

    @property
    def fewest_pixels(self) -> float:
        """The smallest area of a resized image that is not longer than LONGEST_ASPECT times its width."""
        return min(self.min_side**2, self.max_side**2 / LONGEST_ASPECT)

    @property
    def most_pixels(self) -> int:
        """The largest area of an image in a padded batch: sides are rounded up to multiples of 32."""
        return (-(-self.max_side // 32) * 32) ** 2


DETECTORS: Mapping[str, Detector] = {
    "fasterrcnn_resnet50_fpn": Detector(800, 1333, 2000, 512),
    "fasterrcnn_resnet18_fpn_small": Detector(96, 96, 300, 32),
    "fasterrcnn_tiny": Detector(32, 32, 10, 8),
}
"""torchvision's defaults, which are the benchmark's, and the suite's own small models."""


def fingerprint(evidence: Evidence) -> Workload | None:
    """The fingerprint of what was measured; None where no rank measured a step, or no loss is a number."""
    measured = [rank.windows.measured for rank in evidence.ranks]
    images = sum(total(windows.images) for windows in measured)
    ends = [_end_losses(windows.loss) for windows in measured if windows.steps]
    if images < 1 or not ends:
        return None
    first, last = (statistics.median(end[at] for end in ends) for at in (0, 1))
    return Workload(
        images=int(images),
        pixels_per_image=sum(total(windows.padded_pixels) for windows in measured) / images,
        proposals_per_image=sum(total(windows.proposals) for windows in measured) / images,
        positives_per_image=sum(total(windows.positives) for windows in measured) / images,
        first_loss=first,
        last_loss=last,
    )


def images_have_their_size(case: Case) -> Iterator[str]:
    """Every window's images were resized as the model prescribes, neither smaller nor larger."""
    detector = DETECTORS.get(case.cell.recipe.model)
    if detector is None:
        yield f"found the model {case.cell.recipe.model}, expected one of {', '.join(DETECTORS)}"
        return
    for rank, windows, images in _by_window(case):
        pixels = windows.padded_pixels / images
        yield from _outside(
            rank, windows, pixels, detector.fewest_pixels, detector.most_pixels, "padded pixels an image"
        )


def proposals_are_there(case: Case) -> Iterator[str]:
    """The region proposal network handed on something to work on, and not more than it may."""
    detector = DETECTORS.get(case.cell.recipe.model)
    for rank, windows, images in _by_window(case):
        if detector is not None:
            yield from _outside(rank, windows, windows.proposals / images, 1, detector.proposals, "proposals an image")


def the_box_head_had_its_samples(case: Case) -> Iterator[str]:
    """The box head was trained on as many boxes as the model prescribes: with few proposals its work shrinks."""
    detector = DETECTORS.get(case.cell.recipe.model)
    for rank, windows, images in _by_window(case):
        if detector is not None:
            least = FULL_SAMPLES * detector.sampled
            yield from _outside(
                rank, windows, windows.sampled / images, least, detector.sampled, "sampled boxes an image"
            )


def positives_are_there(case: Case) -> Iterator[str]:
    """The box head had objects to learn: each image's own boxes are among the samples, and only few have none."""
    detector = DETECTORS.get(case.cell.recipe.model)
    for rank, windows, images in _by_window(case):
        if detector is not None:
            found = windows.positives / images
            # In a few images all boxes may be those of crowds, which are nobody's target.
            found[(images < _LEAST_IMAGES) & (found < 1)] = 1
            yield from _outside(rank, windows, found, 0.5, detector.sampled / 4, "positives an image")


def loss_did_not_grow(case: Case) -> Iterator[str]:
    """The model did not diverge: another, often faster, workload."""
    for rank in case.evidence.ranks:
        loss = rank.windows.loss
        if len(loss) < 2 * _LEAST_END:
            continue
        first, last = _end_losses(loss)
        if last > DIVERGED * first:
            yield (
                f"rank {rank.rank}: the loss went from {first:.3g} at the beginning to {last:.3g} at the end, expected "
                f"it not to grow to more than {DIVERGED:g} times: the model diverged"
            )


def _by_window(case: Case) -> Iterator[tuple[int, Windows, np.ndarray]]:
    """(rank, its windows, images in each) of every rank that took a step; no window is without a step."""
    import numpy as np  # here, so that collecting tests does not pay for it

    for rank in case.evidence.ranks:
        windows = rank.windows
        if windows.steps:
            starts = np.concatenate(([0], np.cumsum(windows.size[:-1])))
            yield rank.rank, windows, np.maximum(np.add.reduceat(windows.images, starts), 1)


def _outside(rank: int, windows: Windows, found: np.ndarray, low: float, high: float, what: str) -> Iterator[str]:
    wrong = ((found < low) | (found > high)).nonzero()[0]
    if len(wrong):
        at = int(wrong[0])
        yield (
            f"rank {rank}: window of step {windows.step[at]}: found {found[at]:.6g} {what}, expected {low:.6g} to "
            f"{high:.6g}: this is another workload"
        )


def _end_losses(loss: np.ndarray) -> tuple[float, float]:
    import numpy as np  # here, so that collecting tests does not pay for it

    steps = min(len(loss), max(_LEAST_END, int(_ENDS * len(loss))))
    return float(np.median(loss[:steps])), float(np.median(loss[-steps:]))
