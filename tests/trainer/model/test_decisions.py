"""Decisions of a training step: recorded, and taken again by a model whose own would be others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.training.one_step import settings_of
from trainer.model.decisions import recorded, taken
from trainer.numerics.whole_step import Batch, batch_of, build, plan_of


def step_of(model: str) -> tuple[Any, Batch]:
    torch.set_num_threads(1)
    plan = plan_of(settings_of(model, 3))
    return build(plan), batch_of(plan)


@pytest.fixture
def step() -> tuple[Any, Batch]:
    return step_of("fasterrcnn_tiny")


def backward(model: Any, batch: Batch) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    sum(model(batch.images, batch.targets).values()).backward()
    return {name: one.grad.clone() for name, one in model.named_parameters()}


@pytest.mark.parametrize("network", ["fasterrcnn_tiny", "fasterrcnn_resnet18_fpn_small"])
def test_decisions_are_what_differs_between_two_steps_from_the_same_weights(network: str) -> None:
    model, batch = step_of(network)
    torch.manual_seed(1)
    with recorded(model) as decisions:
        first = backward(model, batch)

    torch.manual_seed(2)
    with taken(model, decisions):
        again = backward(model, batch)
    others = backward(model, batch)

    # Equal but for the order in which a max pool's gradients are added up.
    assert all(torch.allclose(one, again[name], rtol=1e-4, atol=1e-5) for name, one in first.items())
    assert not all(torch.allclose(one, others[name], rtol=1e-4, atol=1e-5) for name, one in first.items())


def test_decisions_hold_for_other_weights(step: tuple[Any, Batch]) -> None:
    model, batch = step
    with recorded(model) as decisions:
        model(batch.images, batch.targets)
    with torch.no_grad():
        for one in model.parameters():
            one.mul_(-1.1)

    with taken(model, decisions), recorded(model) as found:
        model(batch.images, batch.targets)

    boxes = [name for name in decisions if not name.startswith(("relu", "pool"))]
    assert boxes
    assert all(torch.equal(found[name], decisions[name]) for name in boxes)


def test_a_kink_is_where_it_was_recorded() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([[[[1.0, -1.0], [2.0, 1.0]]]]))
            self.rpn = torch.nn.Module()
            self.roi_heads = torch.nn.Module()
            for name in ("assign_targets_to_anchors", "fg_bg_sampler", "filter_proposals"):
                setattr(self.rpn, name, None)
            self.roi_heads.select_training_samples = None

        def forward(self, shift: float) -> torch.Tensor:
            positive = torch.nn.functional.relu(self.weight + shift)
            return torch.nn.functional.max_pool2d(positive, 2).sum() + positive.sum()

    model = Model()
    with recorded(model) as decisions:
        model(0.0)
    with taken(model, decisions):
        value = model(torch.tensor([[[[0.0, 5.0], [-3.0, 0.0]]]]))
    value.backward()

    # Recorded were the signs + - + + and the maximum 2; now the elements are 1, 4, -1 and 1.
    assert value.item() == (1 + 0 - 1 + 1) + (-1)
    assert torch.equal(model.weight.grad, torch.tensor([[[[1.0, 0.0], [2.0, 1.0]]]]))


def test_the_model_has_its_own_functions_again(step: tuple[Any, Batch]) -> None:
    model, batch = step
    before = model.rpn.fg_bg_sampler, torch.nn.functional.relu

    with recorded(model) as decisions:
        model(batch.images, batch.targets)
    with pytest.raises(ValueError, match="planted"), taken(model, decisions):
        raise ValueError("planted")

    assert (model.rpn.fg_bg_sampler, torch.nn.functional.relu) == before
    assert not {"filter_proposals", "assign_targets_to_anchors"} & set(vars(model.rpn))
    assert "select_training_samples" not in vars(model.roi_heads)
