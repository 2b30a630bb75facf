"""Replaces functions of torch.nn.functional for a while: other arithmetic in the products of a model.

    with altered_products(lambda product, direction, value: value * 1.001):
        losses = model(images, targets)
    sum(losses.values()).backward()   # the gradients of those products are altered too

Modules look these functions up when they are called, in torch 1.12 as today.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping

import torch

FPROP, DGRAD, WGRAD, BGRAD = "fprop", "dgrad", "wgrad", "bgrad"


@dataclass(frozen=True)
class Product:
    """One call of `operator`, conv2d or linear, with its `weight`.

    `terms` has the number of terms that an element adds up, by direction: fprop, dgrad (the gradient to the input),
    wgrad (to the weight) and bgrad (to the bias). An element of dgrad of a strided convolution adds up fewer.
    """

    operator: str
    weight: torch.Tensor
    terms: Mapping[str, int]


Alter = Callable[[Product, str, torch.Tensor], torch.Tensor]
"""Returns what is used in place of a tensor of a product, given it and the direction."""


class _Altered(torch.autograd.Function):
    """The identity, but for what is done to the value and to the gradient."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, forward: Any, backward: Any) -> torch.Tensor:
        ctx.backward = backward
        return value.view_as(value) if forward is None else forward(value)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return (gradients[0] if ctx.backward is None else ctx.backward(gradients[0])), None, None


@contextlib.contextmanager
def replaced(**functions: Callable[..., Any]) -> Iterator[None]:
    """Replace functions of torch.nn.functional; each is called with the one that it replaces as first argument."""
    before = {name: getattr(torch.nn.functional, name) for name in functions}
    for name, function in functions.items():
        setattr(torch.nn.functional, name, _bound(function, before[name]))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(torch.nn.functional, name, function)


def _bound(function: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **named: function(real, *given, **named)


def altered_products(
    results: Alter | None = None, inputs: Callable[[Product, torch.Tensor], torch.Tensor] | None = None
) -> contextlib.AbstractContextManager[None]:
    """Return a context in which `results` alters what convolutions and linear layers give, in all directions.

    `inputs` alters the two tensors that are multiplied: in the backward pass the gradient is one of them.
    """

    def product(operator: str) -> Callable[..., torch.Tensor]:
        def compute(
            real: Any, x: torch.Tensor, weight: torch.Tensor, bias: Any = None, *more: Any, **named: Any
        ) -> Any:
            there = Product(operator, weight, {})

            def altered(direction: str) -> Callable[[torch.Tensor], torch.Tensor] | None:
                return None if results is None else lambda value: results(there, direction, value)

            taken = None if inputs is None else functools.partial(inputs, there)
            x = _Altered.apply(_Altered.apply(x, None, altered(DGRAD)), taken, None)
            used = _Altered.apply(_Altered.apply(weight, None, altered(WGRAD)), taken, None)
            if bias is not None:
                bias = _Altered.apply(bias, None, altered(BGRAD))
            y = real(x, used, bias, *more, **named)
            there = Product(operator, weight, _terms(weight, y))
            return _Altered.apply(y, altered(FPROP), taken)

        return compute

    return replaced(conv2d=product("conv2d"), linear=product("linear"))


def _terms(weight: torch.Tensor, y: torch.Tensor) -> Mapping[str, int]:
    rows = y.numel() // max(1, weight.shape[0])
    return {FPROP: weight[0].numel(), DGRAD: weight.numel() // weight.shape[1], WGRAD: rows, BGRAD: rows}
