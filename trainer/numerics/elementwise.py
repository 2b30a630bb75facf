"""Functions of single numbers, judged in units in the last place."""

from __future__ import annotations

from typing import Callable, Sequence

import torch
import torchvision
from torch.nn import functional

from trainer.numerics.catalogue import Size
from trainer.numerics.operators import Draw, Operator, Tensors, operator, register


class Elementwise(Operator):
    """A function of `n` numbers in [low, high), or of two such vectors."""

    def __init__(
        self, apply: Callable[..., torch.Tensor], low: float, high: float, names: Sequence[str] = ("x",)
    ) -> None:
        self._apply = apply
        self._bounds = low, high
        self._names = names

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        low, high = self._bounds
        return {name: draw.uniform(size["n"], low=low, high=high) for name in self._names}

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return self._apply(*inputs.values())


register("exp", Elementwise(torch.exp, -10.0, 10.0))
register("log", Elementwise(torch.log, 2.0, 1000.0))  # around 1 the result has no digits, whatever computes it
register("sigmoid", Elementwise(torch.sigmoid, -10.0, 10.0))
register("sqrt", Elementwise(torch.sqrt, 1e-3, 1000.0))
register("division", Elementwise(torch.div, 0.1, 10.0, ("x", "y")))


@operator("softmax")
class Softmax(Operator):
    """Softmax of `n` rows of `c` numbers."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        return {"x": draw.normal(size["n"], size["c"])}

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return functional.softmax(inputs["x"], 1)


@operator("box-iou")
class BoxIou(Operator):
    """Intersection over union of `n` with `n` boxes, of whole corners: areas are exact, one division is rounded."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        return {"x": boxes(draw, size["n"]), "y": boxes(draw, size["n"])}

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return torchvision.ops.box_iou(inputs["x"], inputs["y"])


def boxes(draw: Draw, count: int) -> torch.Tensor:
    """Return boxes with whole corners in 16 x 16 pixels: all areas are exact in fp32, fp16 and bf16."""
    corner, sides = draw.whole(count, 2, below=9).float(), draw.whole(count, 2, below=7).float() + 1
    return torch.cat([corner, corner + sides], 1)
