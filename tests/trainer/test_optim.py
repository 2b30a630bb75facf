"""The learning rate is torchvision's detection reference: linear warm-up in the first epoch, then steps down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.model.optim import build_optimizer, learning_rate, set_learning_rate
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


def test_a_rate_is_set_in_every_group() -> None:
    one, two = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [one]}, {"params": [two]}], lr=1.0)

    set_learning_rate(optimizer, 0.25)

    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
