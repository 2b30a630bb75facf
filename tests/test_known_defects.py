"""Defects that public trainers for this benchmark have had, and that no other test is about; ours has none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from evidence.rank_file import EventLog
from tests.trainer.small import small_settings
from tests.trainer.test_steps import Diverging, batches_of, loop_for
from trainer.data.loader import build_loaders
from trainer.loop.evaluate import Detections
from trainer.ranks import HostGroup, Ranks


def test_no_polygon_is_decoded_and_boxes_are_all_that_travels(shapes: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import pycocotools.mask

    def decoding(*_: Any) -> None:
        raise AssertionError("a segmentation was decoded")

    for name in ("decode", "frPyObjects", "merge"):
        monkeypatch.setattr(pycocotools.mask, name, decoding)

    batch = next(iter(build_loaders(small_settings(shapes, tmp_path), rank=0, world_size=1, pin_memory=False).train))

    assert all(set(target) == {"boxes", "labels", "image_id"} for target in batch.targets)
    assert all(image.dtype == torch.uint8 for image in batch.images)


def test_one_rank_of_all_scores_not_one_of_every_host() -> None:
    first_of_the_second_host = HostGroup(Ranks(rank=8, local_rank=0, world_size=16, local_world_size=8, node=1))

    # Without a ground truth: who scores would fail.
    outcome = Detections(None, fast=False).outcome(first_of_the_second_host, lambda reached: True)

    assert outcome.facts == {}


def test_a_step_reads_nothing_back(shapes: Path, tmp_path: Path, monkeypatch: Any) -> None:
    settings = small_settings(shapes, tmp_path, window=5)
    loop = loop_for(settings, EventLog(tmp_path, 0), Diverging(step=100))
    batches = batches_of(settings)
    read: list[str] = []
    for name in ("item", "tolist"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, name=name, original=original: (read.append(name), original(self))[1]
        )

    loop.run(batches, [0.001] * 10, epoch=0)

    assert read == ["tolist"] * 4  # two for each window of five steps, at its end
