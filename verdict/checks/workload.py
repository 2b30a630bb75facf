"""What the steps worked on: the fingerprint beside every rate, and checks that it was the benchmark's workload."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable, Iterator, Mapping

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.verdict import Workload
from verdict.checks.invariants import Case, check, rank_check
from verdict.metrics.statistics import total

if TYPE_CHECKING:
    import numpy as np

LONGEST_ASPECT = 3.0
"""Of an image; photographs are not longer on average."""
FULL_SAMPLES = 0.9
"""Least share of the boxes that a box head samples in a window; torchvision samples fewer only if it has no more."""
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
    `pixel_flops`: what training computes for a padded pixel in backbone, FPN and RPN, forward and backward, two for
    each multiply-add of a convolution; `box_flops`: for a sampled box in the box head. 0: not counted.
    """

    min_side: int
    max_side: int
    proposals: int
    sampled: int
    pixel_flops: float = 0.0
    box_flops: float = 0.0
    full_samples: float = FULL_SAMPLES

    @property
    def least_sampled(self) -> float:
        """The least number of boxes an image that the box head is trained on."""
        return self.full_samples * self.sampled

    @property
    def fewest_pixels(self) -> float:
        """The smallest area of a resized image that is not longer than LONGEST_ASPECT times its width."""
        return min(self.min_side**2, self.max_side**2 / LONGEST_ASPECT)

    @property
    def most_pixels(self) -> int:
        """The largest area of an image in a padded batch: sides are rounded up to multiples of 32."""
        return (-(-self.max_side // 32) * 32) ** 2


DETECTORS: Mapping[str, Detector] = {
    # With the recipe's frozen stem and first stage, which have no backward pass.
    "fasterrcnn_resnet50_fpn": Detector(800, 1333, 2000, 512, pixel_flops=1_046_080, box_flops=86_157_312),
    "fasterrcnn_resnet18_fpn_small": Detector(96, 96, 300, 32),
    # Of ten proposals a trained network may have ten on objects, and a quarter of the samples may be positive.
    "fasterrcnn_tiny": Detector(32, 32, 10, 8, full_samples=0.25),
}
"""torchvision's defaults, which are the benchmark's, and the suite's own small models."""


def fingerprint(evidence: Evidence) -> Workload | None:
    """The fingerprint of what was measured; None if no rank measured a step with an image."""
    measured = [rank.windows.measured for rank in evidence.ranks]
    images = sum(total(windows.images) for windows in measured)
    ends = [end_losses(windows.loss) for windows in measured if windows.steps]
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


@check("image-size")
def images_have_their_size(case: Case) -> Iterator[str]:
    """Every window's images were resized as the model prescribes, or as a smoke run was asked to."""
    if case.cell.recipe.model not in DETECTORS:
        yield f"found the model {case.cell.recipe.model}, expected one of {', '.join(DETECTORS)}"
    yield from _outside(case, "padded_pixels", "padded pixels", lambda model: (model.fewest_pixels, model.most_pixels))


@check("proposals")
def proposals_are_there(case: Case) -> Iterator[str]:
    """The region proposal network gave at least one proposal an image, and at most the model's limit."""
    yield from _outside(case, "proposals", "proposals", lambda model: (1, model.proposals))


@check("sampled-boxes")
def the_box_head_had_its_samples(case: Case) -> Iterator[str]:
    """The box head was trained on as many boxes as the model prescribes; a smoke run of smaller pictures, on fewer."""
    yield from _outside(case, "sampled", "sampled boxes", lambda model: (model.least_sampled, model.sampled))


@check("positives")
def positives_are_there(case: Case) -> Iterator[str]:
    """At least half an object an image was among the box head's samples, and at most a quarter of the samples."""
    yield from _outside(case, "positives", "positives", lambda model: (0.5, model.sampled / 4))


@rank_check("loss-not-diverged")
def loss_did_not_grow(case: Case, rank: RankEvidence) -> Iterator[str]:
    """The loss at the end is at most three times that at the beginning: a diverged model is another workload."""
    loss = rank.windows.loss
    if len(loss) < 2 * _LEAST_END:
        return
    first, last = end_losses(loss)
    if last > DIVERGED * first:
        yield (
            f"the loss went from {first:.3g} at the beginning to {last:.3g} at the end, expected "
            f"it not to grow to more than {DIVERGED:g} times: the model diverged"
        )


@rank_check("specified-peak")
def rate_is_below_the_peak(case: Case, rank: RankEvidence) -> Iterator[str]:
    """No rank computed more than its device's specified peak allows, by the FLOPs of the model at the padded sizes."""
    detector, windows = DETECTORS.get(case.cell.recipe.model), rank.windows.measured
    peak, compute_s = case.cell.peak_tflops, total(windows.compute_ns) / 1e9
    if detector is None or peak is None or compute_s <= 0:
        return
    flops = detector.pixel_flops * total(windows.padded_pixels) + detector.box_flops * total(windows.sampled)
    found = flops / compute_s / 1e12
    if found > peak:
        yield (
            f"found {found:.4g} TFLOPS over {compute_s:.1f} s of compute, expected at most the specified peak of "
            f"{peak:g}: the device did less than this model, or its time is wrong"
        )


def _detector_of(case: Case, rank: RankEvidence) -> Detector | None:
    """The cell's model; of a smoke run with its own image size, on which there may be too few boxes to sample."""
    detector, start = DETECTORS.get(case.cell.recipe.model), rank.start
    if detector is None or case.protocol != "smoke" or start is None or len(start.sides) != 2:
        return detector
    return replace(detector, min_side=start.sides[0], max_side=start.sides[1], full_samples=0.0)


def _outside(case: Case, column: str, what: str, bounds: Callable[[Detector], tuple[float, float]]) -> Iterator[str]:
    """The first window of each rank whose counts an image lie outside the bounds of the cell's model."""
    import numpy as np

    for rank in case.evidence.ranks:
        detector, windows = _detector_of(case, rank), rank.windows
        if detector is None or not windows.steps:
            continue
        starts = np.concatenate(([0], np.cumsum(windows.size[:-1])))
        images = np.maximum(np.add.reduceat(windows.images, starts), 1)
        (low, high), found = bounds(detector), getattr(windows, column) / images
        if column == "positives":  # all boxes of a few images may be crowds, which are no targets
            found[(images < _LEAST_IMAGES) & (found < 1)] = 1
        wrong = ((found < low) | (found > high)).nonzero()[0]
        if len(wrong):
            at = int(wrong[0])
            yield (
                f"rank {rank.rank}: window of step {windows.step[at]}: found {found[at]:.6g} {what} an image, expected "
                f"{low:.6g} to {high:.6g}: this is another workload"
            )


def end_losses(loss: np.ndarray) -> tuple[float, float]:
    import numpy as np

    steps = min(len(loss), max(_LEAST_END, int(_ENDS * len(loss))))
    return float(np.median(loss[:steps])), float(np.median(loss[-steps:]))
