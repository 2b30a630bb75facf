"""Evaluation: inference on each rank's share of the images, COCO box AP on rank 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, Sequence

import numpy as np
import torch

from trainer.data.coco import GroundTruth
from trainer.data.dataset import Batch, require_batch
from trainer.data.loader import Loaded
from trainer.data.passes import total
from trainer.data.published import PublishedBatch
from trainer.data.scoring import COLUMNS, FAST, BatchScores, Score, rows_of, score_rows
from trainer.devices import Backend
from trainer.loop.staging import to_device
from trainer.ranks import HostGroup
from trainer.settings import Settings

Output = Dict[str, torch.Tensor]
"""What torchvision's detectors return for an image: `boxes`, `labels` and `scores`."""


@dataclass(frozen=True)
class Outcome:
    """The result of an evaluation: the AP, and the images and detections of this rank."""

    map: float
    images: int
    """Images of this rank, less those that are in an earlier rank's share too"""
    detections: int
    facts: dict[str, Any] = field(default_factory=dict)
    """For the evidence, on rank 0 only"""


def detect(
    model: torch.nn.Module,
    batches: Iterable[Loaded],
    backend: Backend,
    found: Callable[[Sequence[int], Sequence[Output]], None],
    on_batch: Callable[[int], None] = lambda done: None,
) -> int | None:
    """Run inference; call `found` with each batch's image ids and the model's outputs on the device.

    In fp32 (or TF32) at every precision, as in the published runs: under autocast the boxes would be decoded in the
    shorter format, and bf16 has no fractions of a pixel beyond 256 (the same weights: AP 0.442 in fp32, 0.357 in bf16).
    `on_batch` is then called with the number of images so far. Returns how many images are `oriented` (see Batch).
    Raises DataError for an image that cannot be read.
    """
    model.eval()
    images_seen = 0
    oriented: list[int | None] = []
    blocking = not getattr(batches, "pin_memory", False)  # pinned only if copies may overlap
    try:
        with torch.no_grad():
            for loaded in batches:
                batch: Batch | PublishedBatch = require_batch(loaded)
                images, _ = to_device(batch, backend.device, blocking=blocking)
                found(batch.image_ids.tolist(), model(images))
                images_seen += len(images)
                oriented.append(batch.oriented)
                on_batch(images_seen)
    finally:
        model.train()
    return total(oriented)


Keep = Callable[[np.ndarray], None]
"""Takes the detections of all ranks, float64 [n, 7] (see COLUMNS), of the evaluation that decides."""


def collector(
    settings: Settings, truth: GroundTruth | None, keep: Keep = lambda rows: None
) -> Detections | PublishedScores:
    """Return the collector of detections that the settings want: scored once, or batch by batch.

    The former calls `keep` on rank 0; the latter never has all detections in one place.
    """
    assert truth is not None  # an index of validation images has it
    if settings.uses("scored_once"):
        return Detections(truth, fast=settings.uses("fast_scoring"), keep=keep)
    return PublishedScores(truth)


class Detections:
    """Collects a rank's detections as arrays; rank 0 scores all of them at once."""

    def __init__(self, truth: GroundTruth, *, fast: bool, keep: Keep = lambda rows: None) -> None:
        self._truth = truth
        self._fast = fast
        self._keep = keep
        self._images: list[int] = []
        self._rows: list[np.ndarray] = []

    def add(self, image_ids: Sequence[int], outputs: Sequence[Output]) -> None:
        """Take the outputs of a batch; one copy from the device."""
        numbers = self._truth.numbers_of(image_ids).tolist()
        self._images += numbers
        self._rows.append(rows_of(numbers, outputs))

    def outcome(self, group: HostGroup, decides: Callable[[float], bool]) -> Outcome:
        """Score the detections of all ranks; a collective call.

        If `decides(score)`, because the run ends with it, pycocotools scores the same detections too, and they are
        kept. Raises DataError without any box to find.
        """
        images = np.array(self._images, dtype=np.float64).reshape(-1, 1)
        shares = [part[:, 0] for part in group.all_gather(images)]
        mine = np.isin(images[:, 0], _before(shares, group.ranks.rank), invert=True)
        rows = np.concatenate([np.zeros((0, COLUMNS)), *self._rows])
        rows = rows[np.isin(rows[:, 0], images[mine, 0])]
        every = np.concatenate(group.all_gather(rows))
        score, facts = None, {}
        if group.ranks.rank == 0:
            score = score_rows(every, self._truth, fast=self._fast)
            facts = _facts(score, shares)
            if decides(score.map):
                self._keep(every)
                if score.scorer.startswith(FAST):
                    checked = score_rows(every, self._truth, fast=False)
                    facts.update(checked_map=checked.map, check_difference=score.difference(checked))
        return Outcome(group.from_rank_0(score.map if score else None), int(mine.sum()), len(rows), facts)


class PublishedScores(BatchScores):
    """Scores batch by batch, as the published runs did."""

    def outcome(self, group: HostGroup, decides: Callable[[float], bool]) -> Outcome:
        """Merge the scores of all ranks' batches, by pycocotools; a collective call. Raises DataError."""
        score, images = self.total(group)
        shares = [np.array(share, dtype=np.float64) for share in images]
        rank = group.ranks.rank
        mine = np.isin(shares[rank], _before(shares, rank), invert=True)
        detections = int(np.array(self.detections, dtype=np.int64)[mine].sum())
        return Outcome(score.map, int(mine.sum()), detections, {} if rank else _facts(score, shares))


def _before(shares: Sequence[np.ndarray], rank: int) -> np.ndarray:
    """Return the numbers of the images of earlier ranks: a share may be padded with them."""
    return np.concatenate([np.zeros(0), *shares[:rank]])


def _facts(score: Score, shares: Sequence[np.ndarray]) -> dict[str, Any]:
    return {
        "map": score.map,
        "stats": score.stats,
        "scorer": score.scorer,
        "images_total": len(np.unique(np.concatenate(shares))),
        "images_expected": score.images,
    }
