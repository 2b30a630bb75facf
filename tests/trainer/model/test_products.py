"""Other arithmetic in the products of a model, forward and backward, through torch.nn.functional."""

from __future__ import annotations

import pytest
import torch

from trainer.model.products import Product, altered_products

DIRECTIONS = ("fprop", "dgrad", "wgrad", "bgrad")


def layer(kind: str) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(1)
    if kind == "linear":
        return torch.nn.Linear(6, 4), torch.randn(3, 6)
    return torch.nn.Conv2d(2, 4, 3, padding=1), torch.randn(1, 2, 5, 7)


def results(module: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    module.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    y = module(x)
    y.sum().backward()
    found = {"fprop": y.detach(), "dgrad": x.grad}
    return {**found, "wgrad": module.weight.grad, "bgrad": module.bias.grad}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_a_result_is_altered_in_its_direction_only(kind: str, direction: str) -> None:
    module, x = layer(kind)
    right = results(module, x)

    with altered_products(lambda product, where, value: value * 2 if where == direction else value):
        found = results(module, x)

    for name in DIRECTIONS:
        assert torch.equal(found[name], right[name] * (2 if name == direction else 1)), name


@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_both_tensors_that_are_multiplied_are_altered_in_every_direction(kind: str) -> None:
    module, x = layer(kind)
    right = results(module, x)

    with altered_products(inputs=lambda product, value: value * 2):
        found = results(module, x)

    bias = module.bias.reshape(-1, 1, 1) if kind == "conv2d" else module.bias
    assert torch.allclose(found["fprop"] - bias, 4 * (right["fprop"] - bias), atol=1e-6)
    assert torch.allclose(found["dgrad"], 4 * right["dgrad"])
    assert torch.allclose(found["wgrad"], 4 * right["wgrad"])


@pytest.mark.parametrize(
    ("kind", "terms"),
    [
        ("linear", {"fprop": 6, "dgrad": 4, "wgrad": 3, "bgrad": 3}),
        ("conv2d", {"fprop": 18, "dgrad": 36, "wgrad": 35, "bgrad": 35}),
    ],
)
def test_the_number_of_terms_is_that_of_the_sums(kind: str, terms: dict[str, int]) -> None:
    module, x = layer(kind)
    seen: dict[str, Product] = {}

    def note(product: Product, where: str, value: torch.Tensor) -> torch.Tensor:
        seen[where] = product
        return value

    with altered_products(note):
        results(module, x)

    assert {where: one.terms[where] for where, one in seen.items()} == terms
    assert {one.operator for one in seen.values()} == {kind}
    assert all(one.weight is module.weight for one in seen.values())


def test_the_functions_are_put_back_after_an_error() -> None:
    before = torch.nn.functional.conv2d, torch.nn.functional.linear

    with pytest.raises(ValueError, match="planted"), altered_products(inputs=lambda product, value: value):
        raise ValueError("planted")

    assert (torch.nn.functional.conv2d, torch.nn.functional.linear) == before
