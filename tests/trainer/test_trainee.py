"""The optimizer and its learning rate, and the count of what a training step worked on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.small import small_settings
from trainer.loop.trainee import Fingerprint, ParameterDigests, build_optimizer, learning_rate
from trainer.model.networks import build_model
from trainer.settings import Settings


def recipe(**changes: Any) -> Settings:
    return Settings(run_dir=Path("r"), data=Path("d"), backbone=Path("b.pth"), **changes)


@pytest.mark.parametrize("steps_per_epoch", [2, 32, 1000, 1001, 7329])
def test_the_warm_up_equals_torchs_linear_schedule(steps_per_epoch: int) -> None:
    settings = recipe(learning_rate=0.16)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.16)
    length = min(1000, steps_per_epoch - 1)
    reference = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 1000, total_iters=length)

    for step in range(min(steps_per_epoch, 1100)):
        ours = learning_rate(settings, epoch=0, step=step, steps_per_epoch=steps_per_epoch)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        reference.step()


def test_an_epoch_of_one_step_has_no_warm_up() -> None:
    assert learning_rate(recipe(learning_rate=0.02), epoch=0, step=0, steps_per_epoch=1) == 0.02


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (15, 1), (16, 0.1), (21, 0.1), (22, 0.01), (25, 0.01)])
def test_the_rate_falls_at_the_milestones(epoch: int, factor: float) -> None:
    rate = learning_rate(recipe(learning_rate=0.16), epoch=epoch, step=2000, steps_per_epoch=3000)

    assert rate == pytest.approx(0.16 * factor)


def test_the_optimizer_holds_only_what_is_trained_and_is_not_fused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[0].requires_grad_(False)

    optimizer = build_optimizer(model, recipe())

    (group,) = optimizer.param_groups
    assert group["params"] == list(model[1].parameters())
    assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-4)
    assert not group.get("fused")


def test_a_digest_says_which_parameters_moved_and_is_equal_for_equal_ones() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    model[0].requires_grad_(False)
    digests = ParameterDigests(model)

    first = digests.take(0)
    again = ParameterDigests(model).take(7)
    with torch.no_grad():
        model[1].weight[0, 0] = torch.nextafter(model[1].weight[0, 0], torch.tensor(9.0))
        model[0].weight.zero_()
        model[2].running_mean.fill_(3.0)
    later = digests.take(5)

    assert (first.steps, first.tensors, first.moved, first.unmoved) == (0, 4, 0, ())
    assert (again.sha256, again.steps) == (first.sha256, 7)
    assert later.sha256 != first.sha256
    assert (later.moved, later.unmoved) == (1, ("1.bias", "2.weight", "2.bias"))


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
