"""The plan of the one-step probe, its network and picture, and the size of honest errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.training.one_step import settings_of
from trainer.numerics.reference import sequential as summed_sequentially
from trainer.numerics.whole_step import batch_of, build, distance, plan_of, sequential

SMALL, LARGE = "fasterrcnn_resnet18_fpn_small", "fasterrcnn_resnet50_fpn"


@pytest.mark.parametrize(
    ("model", "numerics", "asked", "sides", "steps"),
    [
        (LARGE, "quick", SMALL, (96, 96), 10),
        (LARGE, "full", LARGE, (400, 667), 20),
        (SMALL, "quick", SMALL, (96, 96), 10),
        ("fasterrcnn_tiny", "full", "fasterrcnn_tiny", (32, 32), 20),
    ],
)
def test_quick_takes_the_small_network_for_the_large_one(
    model: str, numerics: str, asked: str, sides: tuple[int, int], steps: int
) -> None:
    plan = plan_of(settings_of(model, 5, numerics=numerics))

    assert (plan.model, plan.sides, plan.steps, plan.seed) == (asked, sides, steps, 5)
    assert plan.frozen == (asked == LARGE)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "fp32"), ("amp", "fp16"), ("bf16", "bf16")])
def test_the_dtype_is_that_of_the_products(precision: str, dtype: str) -> None:
    assert plan_of(settings_of(SMALL, 0, precision)).dtype == dtype


def test_network_and_picture_are_those_of_the_seed_and_the_generator_is_left_alone() -> None:
    plan, other = (plan_of(settings_of("fasterrcnn_tiny", seed)) for seed in (1, 2))
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)

    models = [next(iter(build(one).parameters())) for one in (plan, plan, other)]

    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
    assert torch.equal(batch_of(plan).images[0], batch_of(plan).images[0])
    assert len(batch_of(plan).targets[0]["boxes"]) == len(batch_of(plan).targets[0]["labels"]) > 0


def test_the_distance_is_in_units_of_the_largest_element() -> None:
    expected = torch.tensor([1.0, -4.0, 2.0])

    far = distance(expected + torch.tensor([0.0, 0.0, 2.0**-20]), expected, "fp32")

    assert (far.worst, far.at, far.expected) == (4.0, 2, 2.0)
    assert far.rmse == pytest.approx(2.0**-20 / math.sqrt(3))
    assert far.rms == pytest.approx(math.sqrt(7))


@pytest.mark.parametrize(
    ("found", "worst"),
    [([0.0, 0.0], 0.0), ([0.0, 1e-30], math.inf), ([0.0, math.nan], math.inf), ([0.0], math.inf)],
)
def test_beside_zeros_any_error_is_infinite_and_so_is_what_is_missing(found: list[float], worst: float) -> None:
    assert distance(torch.tensor(found), torch.zeros(2), "fp32").worst == worst


@pytest.mark.parametrize("terms", [64, 1024, 12544])
def test_drawn_errors_are_as_large_as_those_of_sequential_sums(terms: int) -> None:
    generator = torch.Generator().manual_seed(terms)
    x, weight = torch.randn(16, terms, generator=generator), torch.randn(24, terms, generator=generator)
    expected = (x.double() @ weight.double().T).numpy()
    products = (x[:, None] * weight[None]).numpy().reshape(-1, terms)
    really = np.sqrt(np.mean((summed_sequentially(products).reshape(16, 24) - expected) ** 2))

    with sequential("fp32", 1):
        drawn = torch.nn.functional.linear(x, weight).numpy()

    assert 0.5 < np.sqrt(np.mean((drawn - expected) ** 2)) / really < 2
