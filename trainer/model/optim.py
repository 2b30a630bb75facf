"""The recipe's optimizer and its learning rate as a pure function of epoch and step."""

from __future__ import annotations

from typing import Any

import torch

from trainer.settings import Settings


def build_optimizer(model: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return SGD over the parameters that are trained.

    Not the fused kind: under a GradScaler it corrupts the momentum when a gradient overflows (torch 2.14).
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(
        trained, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def learning_rate(settings: Settings, *, epoch: int, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of `step` (counted from 0) of `epoch` (counted from 0).

    Linear warm-up from `warmup_factor` of the rate over min(warmup_steps, steps_per_epoch - 1) steps of the first
    epoch, then the rate, times `lr_gamma` from each milestone on: torchvision's detection reference.
    """
    rate = settings.learning_rate * settings.lr_gamma ** sum(epoch >= m for m in settings.lr_milestones)
    warmup = min(settings.warmup_steps, steps_per_epoch - 1)
    if epoch == 0 and step < warmup:
        rate *= settings.warmup_factor + (1 - settings.warmup_factor) * step / warmup
    return rate


def set_learning_rate(optimizer: Any, rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
