"""The fingerprint counts what a detector worked on in training, and nothing of its evaluation."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.trainer.small import small_settings
from trainer.loop.workload import Fingerprint
from trainer.model.networks import build_model


def batch() -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    images = [torch.rand(3, 60, 120), torch.rand(3, 120, 60)]
    boxes = [torch.tensor([[5.0, 5.0, 40.0, 40.0]]), torch.tensor([[5.0, 5.0, 50.0, 50.0], [10.0, 60.0, 50.0, 100.0]])]
    return images, [{"boxes": one, "labels": torch.ones(len(one), dtype=torch.int64)} for one in boxes]


def test_pixels_proposals_and_positives_of_a_step_are_counted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(small_settings(tmp_path, tmp_path))
    seen = Fingerprint(model)

    model(*batch())
    first = seen.take()

    assert first.padded_pixels == 2 * 96 * 96  # 96 x 48 and 48 x 96, padded to one another
    assert 2 <= first.proposals <= 2 * 300
    (positives,) = first.positives
    assert 3 <= int(positives) <= 2 * 32 // 4  # each object's own box is among the samples
    assert seen.take().padded_pixels == 0


def test_evaluation_is_not_counted(tmp_path: Path) -> None:
    model = build_model(small_settings(tmp_path, tmp_path)).eval()
    seen = Fingerprint(model)

    with torch.no_grad():
        model(batch()[0])

    taken = seen.take()
    assert (taken.padded_pixels, taken.proposals, taken.positives) == (0, 0, [])


def test_counting_changes_no_loss(tmp_path: Path) -> None:
    losses = []
    for counted in (False, True):
        torch.manual_seed(0)
        model = build_model(small_settings(tmp_path, tmp_path))
        if counted:
            Fingerprint(model)
        torch.manual_seed(1)
        losses.append({name: float(loss.detach()) for name, loss in model(*batch()).items()})

    assert losses[0] == losses[1]


def test_a_model_without_these_parts_counts_nothing() -> None:
    model = torch.nn.Linear(1, 1)
    seen = Fingerprint(model)

    model(torch.zeros(1, 1))

    assert seen.take().positives == []
