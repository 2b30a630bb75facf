"""How the operators of the catalogue are computed: seeded inputs, results and gradients, and what is added up in them.

    conv2d = load()["conv2d"]
    inputs = conv2d.inputs({"n": 1, "cin": 256, "h": 50, "w": 84, "cout": 256, "k": 3, "stride": 1}, Draw(seed=1))
    conv2d.compute("fprop", size, inputs)    # on any device, in any dtype: that of the inputs
    conv2d.condition("wgrad", size, inputs)  # the same of absolute values: how far rounding can move each element

To add an operator, add it to catalogue.py, and in a module beside this one `register` a `Plain` of two functions, or a
class with `@operator`.
"""

from __future__ import annotations

import importlib
from typing import Callable, ClassVar, Dict, Mapping, TypeVar

import torch

from trainer.numerics.catalogue import CATALOGUE, Kind, Size

Tensors = Dict[str, torch.Tensor]
_O = TypeVar("_O", bound="Operator")


class Draw:
    """Inputs from a seeded generator on the host, the same on every machine and version of torch."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Return fp32 numbers of the normal distribution. torch draws them in blocks: one thread, one order."""
        return torch.randn(*shape, generator=self._generator) * scale

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Return fp32 numbers in [low, high)."""
        return torch.rand(*shape, generator=self._generator) * (high - low) + low

    def whole(self, *shape: int, below: int) -> torch.Tensor:
        """Return int64 numbers in [0, below)."""
        return torch.randint(below, shape, generator=self._generator)

    def order(self, count: int) -> torch.Tensor:
        """Return the numbers below `count` in random order."""
        return torch.randperm(count, generator=self._generator)


class Operator:
    """How an operator of the catalogue is computed. Floating inputs are rounded to the dtype of the case before.

    `size` names its dimensions; `kind` is its entry in the catalogue.
    """

    kind: Kind
    #: Floating inputs that stay as they are for `condition`: positions and selections, which scale nothing.
    fixed: ClassVar[tuple[str, ...]] = ()

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        """Return fp32 inputs by name on the host; `upstream` is the gradient of the result where one is needed."""
        raise NotImplementedError

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        """Return the result of the operator."""
        raise NotImplementedError

    def compute(self, direction: str, size: Size, inputs: Tensors) -> torch.Tensor:
        """Return the result of a pass, on the device and in the dtype of the inputs."""
        wanted = self.kind.directions[direction]
        if not wanted:
            with torch.no_grad():
                return self.apply(size, inputs)
        given = {**inputs, wanted: inputs[wanted].detach().clone().requires_grad_()}
        with torch.enable_grad():
            result = self.apply(size, given)
            return torch.autograd.grad(result, given[wanted], inputs["upstream"].reshape(result.shape))[0]

    def condition(self, direction: str, size: Size, inputs: Tensors) -> torch.Tensor:
        """Return S of each element: the sum of the absolute values of all that is added up in it."""
        absolute = {
            name: one.abs() if one.is_floating_point() and name not in self.fixed else one
            for name, one in inputs.items()
        }
        return self.compute(direction, size, absolute)

    def terms(
        self, direction: str, size: Size, inputs: Tensors, picked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return two matrices (elements, K) whose products, added up, `finish` makes each picked element of.

        Elements are picked by their index in the flat result. None for sums so short that their order hardly matters.
        """
        return None

    def differs(self, size: Size, inputs: Tensors, answer: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Return whether each element of an answer is other than it has to be, of rules that count such elements."""
        if answer.dtype != expected.dtype:
            return torch.ones(expected.shape, dtype=torch.bool)
        same = answer == expected
        if answer.is_floating_point():
            # 0 and -0 are equal and have other bits; NaN has to be where it is expected.
            same = (same & (torch.signbit(answer) == torch.signbit(expected))) | (answer.isnan() & expected.isnan())
        return ~same

    def finish(self, sums: torch.Tensor) -> torch.Tensor:
        """Return the elements whose sums of `terms` are given."""
        return sums


class Plain(Operator):
    """An operator of inputs drawn by one function and computed from them by another."""

    def __init__(self, inputs: Callable[[Size, Draw], Tensors], apply: Callable[[Tensors], torch.Tensor]) -> None:
        self._inputs = inputs
        self._apply = apply

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        return self._inputs(size, draw)

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return self._apply(inputs)


OPERATORS: dict[str, Operator] = {}
"""Every operator by name."""


def register(name: str, instance: Operator) -> None:
    """Enter how an operator of the catalogue is computed. Raises KeyError for a name that is not in it."""
    instance.kind = CATALOGUE[name]
    OPERATORS[name] = instance


def operator(name: str) -> Callable[[type[_O]], type[_O]]:
    """Register a class without arguments as the operator of that name."""

    def enter(cls: type[_O]) -> type[_O]:
        register(name, cls())
        return cls

    return enter


def load() -> Mapping[str, Operator]:
    """Import the modules beside this one, which register their operators, and return all by name."""
    for module in ("products", "sums", "elementwise", "exact", "special"):
        importlib.import_module(f"{__package__}.{module}")
    return OPERATORS
