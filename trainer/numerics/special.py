"""Operators at the edges of the number format: precision of products, NaN and infinity, denormals, and ties."""

from __future__ import annotations

import math
from typing import Callable

import torch
import torchvision
from torch.nn import functional

from trainer.numerics.catalogue import Size
from trainer.numerics.elementwise import boxes
from trainer.numerics.operators import Draw, Operator, Plain, Tensors, operator, register

_THRESHOLD = 0.505  # 101 / 200: no quotient of two areas of at most 98 pixels is near it
_SMALLEST_NORMAL = 2.0**-126


def _mantissas(draw: Draw, *shape: int) -> torch.Tensor:
    """Return numbers in [1, 2) with all 24 bits at random."""
    return 1 + draw.whole(*shape, below=2**23).float() * 2.0**-23


def _permuted_rows(size: Size, draw: Draw) -> Tensors:
    """Draw `n` rows of `k` numbers, and a matrix of zeros and ones that puts them in another order."""
    return {"x": _mantissas(draw, size["n"], size["k"]), "weight": torch.eye(size["k"])[draw.order(size["k"])]}


def _permuted_channels(size: Size, draw: Draw) -> Tensors:
    """Draw an image of `c` channels, and a convolution of 3 x 3 that puts them in another order."""
    weight = torch.zeros(size["c"], size["c"], 3, 3)
    weight[torch.arange(size["c"]), draw.order(size["c"]), 1, 1] = 1
    return {"x": _mantissas(draw, 1, size["c"], size["h"], size["w"]), "weight": weight}


register("bits-linear", Plain(_permuted_rows, lambda given: functional.linear(given["x"], given["weight"])))
register(
    "bits-conv2d", Plain(_permuted_channels, lambda given: functional.conv2d(given["x"], given["weight"], padding=1))
)


class _Special(Plain):
    """NaN and infinity have to be where the host has them; what is finite is not looked at."""

    def differs(self, size: Size, inputs: Tensors, answer: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        infinite = torch.isinf(expected) | torch.isinf(answer)
        return (answer.isnan() != expected.isnan()) | (infinite & (answer != expected) & ~expected.isnan())


def _vector(apply: Callable[[torch.Tensor], torch.Tensor], *values: float) -> _Special:
    """Return a function of `n` numbers among which are `values`."""

    def inputs(size: Size, draw: Draw) -> Tensors:
        x = draw.uniform(size["n"], low=0.5, high=2.0)
        x[draw.order(size["n"])[: len(values)]] = torch.tensor(values)
        return {"x": x}

    return _Special(inputs, lambda given: apply(given["x"]))


_NAN, _INF = math.nan, math.inf
register("nan-relu", _vector(torch.relu, _NAN, _INF, -_INF))
register("nan-add", _vector(lambda x: x + x.flip(0), _NAN, _INF, -_INF))
register("nan-sum", _vector(torch.sum, _NAN))
register("nan-softmax", _vector(lambda x: functional.softmax(x.reshape(8, -1), 1), _NAN))
register("inf-exp", _vector(torch.exp, _NAN, _INF, -_INF, 1000.0))
register("inf-log", _vector(torch.log, _NAN, _INF, -1.0, 0.0))
register("inf-sqrt", _vector(torch.sqrt, _NAN, _INF, -1.0))
register("inf-sigmoid", _vector(torch.sigmoid, _NAN, _INF, -_INF))


def _images(size: Size, draw: Draw) -> Tensors:
    x = draw.normal(*(size[name] for name in ("n", "c", "h", "w")))
    x[0, 0, size["h"] // 2, size["w"] // 2] = _NAN
    return {"x": x}


def _rows(size: Size, draw: Draw) -> Tensors:
    """Draw a row with NaN and one with infinity, and a matrix without zeros."""
    x = draw.uniform(size["n"], size["k"])
    x[0, 3], x[1, 5] = _NAN, _INF
    return {"x": x, "weight": draw.uniform(size["m"], size["k"], low=0.5)}


def _image(size: Size, draw: Draw) -> Tensors:
    """Draw an image of `c` channels with one NaN, and a convolution of 3 x 3 without zeros."""
    x = draw.uniform(1, size["c"], size["h"], size["w"])
    x[0, 1, size["h"] // 2, size["w"] // 2] = _NAN
    return {"x": x, "weight": draw.uniform(4, size["c"], 3, 3, low=0.5)}


def _denormals(size: Size, draw: Draw) -> Tensors:
    return {"x": draw.uniform(size["n"], low=0.1, high=0.9) * _SMALLEST_NORMAL, "y": torch.ones(size["n"])}


def _convolved(given: Tensors) -> torch.Tensor:
    # Not by Winograd's transforms, which would spread the NaN over a tile: a stride of 2 has none.
    return functional.conv2d(given["x"], given["weight"], padding=1, stride=2)


register("nan-max-pool", _Special(_images, lambda given: functional.max_pool2d(given["x"], 3, stride=2, padding=1)))
register("nan-linear", _Special(_rows, lambda given: functional.linear(given["x"], given["weight"])))
register("nan-conv2d", _Special(_image, _convolved))
register("denormals", Plain(_denormals, lambda given: given["x"] * given["y"]))


@operator("tied-topk")
class TiedTopk(Operator):
    """The places of the 100 largest of `n` numbers of eight values: any that have the right values, each once."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        return {"x": draw.whole(size["n"], below=8).float()}

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return inputs["x"].topk(100).indices

    def differs(self, size: Size, inputs: Tensors, answer: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        inside = (answer >= 0) & (answer < size["n"])
        x, places = inputs["x"], answer.clamp(0, size["n"] - 1)
        again = torch.bincount(places, minlength=size["n"])[places] > 1
        return ~inside | again | (x[places] != x[expected])


@operator("tied-sort")
class TiedSort(TiedTopk):
    """The places of all `n` numbers of eight values in descending order."""

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return inputs["x"].sort(descending=True).indices


@operator("tied-nms")
class TiedNms(Operator):
    """NMS of `n` boxes with four scores: whether each box is kept."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        return {"x": boxes(draw, size["n"]), "scores": (draw.whole(size["n"], below=4).float() + 1) / 4}

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        kept = torchvision.ops.nms(inputs["x"], inputs["scores"], _THRESHOLD)
        return torch.zeros(size["n"], dtype=torch.bool, device=kept.device).index_fill(0, kept, True)

    def differs(self, size: Size, inputs: Tensors, answer: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        # Valid: no two kept boxes overlap, and each box that is left out overlaps one kept that scores as much or more.
        overlap = torchvision.ops.box_iou(inputs["x"], inputs["x"]) > _THRESHOLD
        overlap.fill_diagonal_(False)
        scores = inputs["scores"]
        reasons = overlap & answer[None, :] & (scores[None, :] >= scores[:, None])
        return torch.where(answer, (overlap & answer[None, :]).any(1), ~reasons.any(1))
