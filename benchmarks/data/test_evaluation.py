"""Scoring detections as the trainer does it, beside pycocotools and beside the published way, batch by batch."""

from __future__ import annotations

import contextlib
import io
from typing import Any, Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("faster_coco_eval")

from benchmarks.beside import beside
from tests.trainer.scoring_data import made_up, plainly
from trainer.data.coco import GroundTruth
from trainer.data.scoring import BatchScores, score_rows
from trainer.ranks import HostGroup, Ranks

IMAGES, DETECTIONS = 5000, 100
FEWER_IMAGES, BATCH_SIZE = 1000, 16


def same(ours: Callable[[], Any], reference: Callable[[], Any]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Both as they are, but that the statistics of the second are held to those that the first had come to."""
    found: list[Any] = []

    def our_own() -> None:
        found[:] = [ours()]

    def compared() -> None:
        assert np.max(np.abs(np.subtract(reference(), found[0]))) <= 1e-12

    return our_own, compared


def test_scoring_beside_pycocotools(benchmark: Any) -> None:
    """Ours begins with arrays; pycocotools has its index of the ground truth from before it is timed."""
    content, rows = made_up(IMAGES, DETECTIONS)
    truth = GroundTruth.of(content)
    with contextlib.redirect_stdout(io.StringIO()):
        given = truth.numbered().to_coco()
    ours, reference = same(lambda: score_rows(rows, truth, fast=True).stats, lambda: plainly(given, rows))

    beside(benchmark, ours, reference, units=IMAGES, name="scoring 5,000 images, beside pycocotools")


def test_scoring_beside_scoring_every_batch(benchmark: Any) -> None:
    """The published way on one rank, where no parts have to be gathered; both ways make their own index here."""
    content, rows = made_up(FEWER_IMAGES, DETECTIONS)
    truth = GroundTruth.of(content)
    bounds = np.searchsorted(rows[:, 0], np.arange(1, FEWER_IMAGES + 2, BATCH_SIZE))
    batches = [
        (range(first, min(first + BATCH_SIZE, FEWER_IMAGES + 1)), rows[begin:end])
        for first, begin, end in zip(range(1, FEWER_IMAGES + 1, BATCH_SIZE), bounds, [*bounds[1:], len(rows)])
    ]

    def by_batches() -> list[float]:
        scores = BatchScores(truth)
        for image_ids, found in batches:
            scores.add_rows(image_ids, found)
        return scores.total(HostGroup(Ranks()))[0].stats

    ours, reference = same(lambda: score_rows(rows, truth, fast=True).stats, by_batches)

    beside(benchmark, ours, reference, units=FEWER_IMAGES, name="scoring 1,000 images, beside every batch")
