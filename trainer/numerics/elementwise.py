"""Functions of single numbers, judged in units in the last place."""

from __future__ import annotations

from typing import Callable

import torch
import torchvision

from trainer.numerics.catalogue import Size
from trainer.numerics.operators import Draw, Plain, Tensors, register


def _numbers(low: float, high: float, *names: str) -> Callable[[Size, Draw], Tensors]:
    """Draw `n` numbers in [low, high) by each name."""
    return lambda size, draw: {name: draw.uniform(size["n"], low=low, high=high) for name in names}


def boxes(draw: Draw, count: int) -> torch.Tensor:
    """Return boxes with whole corners in 16 x 16 pixels: all areas are exact in fp32, fp16 and bf16."""
    corner, sides = draw.whole(count, 2, below=9).float(), draw.whole(count, 2, below=7).float() + 1
    return torch.cat([corner, corner + sides], 1)


def _two_boxes(size: Size, draw: Draw) -> Tensors:
    return {"x": boxes(draw, size["n"]), "y": boxes(draw, size["n"])}


register("exp", Plain(_numbers(-10.0, 10.0, "x"), lambda given: given["x"].exp()))
# Around 1 the result has no digits, whatever computes it.
register("log", Plain(_numbers(2.0, 1000.0, "x"), lambda given: given["x"].log()))
register("sigmoid", Plain(_numbers(-10.0, 10.0, "x"), lambda given: given["x"].sigmoid()))
register("sqrt", Plain(_numbers(1e-3, 1000.0, "x"), lambda given: given["x"].sqrt()))
register("division", Plain(_numbers(0.1, 10.0, "x", "y"), lambda given: given["x"] / given["y"]))
register(
    "softmax", Plain(lambda size, draw: {"x": draw.normal(size["n"], size["c"])}, lambda given: given["x"].softmax(1))
)
# Of whole corners: areas are exact, one division is rounded.
register("box-iou", Plain(_two_boxes, lambda given: torchvision.ops.box_iou(given["x"], given["y"])))
