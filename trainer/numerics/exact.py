"""Operators that round nothing, or once as IEEE 754 says: the same bits everywhere."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch.nn import functional

from trainer.numerics.catalogue import Size
from trainer.numerics.elementwise import boxes
from trainer.numerics.operators import Draw, Plain, Tensors, register


def _signed(size: Size, draw: Draw) -> torch.Tensor:
    """Return `n` numbers of 0.25 to 2 and either sign, whose products are far from denormal in every dtype."""
    return draw.uniform(size["n"], low=0.25, high=2.0) * (draw.whole(size["n"], below=2) * 2 - 1)


def _vector(size: Size, draw: Draw) -> Tensors:
    return {"x": _signed(size, draw), "upstream": _signed(size, draw)}


def _two(size: Size, draw: Draw) -> Tensors:
    return {"x": _signed(size, draw), "y": _signed(size, draw)}


def _matrix(size: Size, draw: Draw) -> Tensors:
    rows, columns = size["n"], size["c"]
    return {"x": draw.normal(rows, columns), "rows": draw.order(rows)[: max(1, rows // 2)] if rows else draw.order(0)}


def _images(size: Size, draw: Draw) -> Tensors:
    return {"x": draw.normal(*(size[name] for name in ("n", "c", "h", "w")))}


def _put(given: Tensors) -> torch.Tensor:
    result = torch.zeros_like(given["x"])
    result[given["rows"]] = given["x"][: len(given["rows"])]
    return result


def _scatter(given: Tensors) -> torch.Tensor:
    index = given["rows"].reshape(-1, 1).expand(-1, given["x"].shape[1])
    return torch.zeros_like(given["x"]).scatter_(0, index, given["x"][: len(given["rows"])])


def _clear_boxes(size: Size, draw: Draw) -> Tensors:
    # Whole corners, so that IoU is one rounded division, and none is near
    # the threshold: a union has at most 98 pixels, and 0.505 is 101 / 200.
    scores = (draw.order(size["n"]).float() + 1) / max(1, size["n"])
    return {"x": boxes(draw, size["n"]), "scores": scores, "classes": draw.whole(size["n"], below=3)}


def _nms(given: Tensors) -> torch.Tensor:
    return torchvision.ops.nms(given["x"].float(), given["scores"].float(), 0.505)


def _batched_nms(given: Tensors) -> torch.Tensor:
    return torchvision.ops.batched_nms(given["x"].float(), given["scores"].float(), given["classes"], 0.505)


def _values(found: Any) -> torch.Tensor:
    values: torch.Tensor = found.values
    return values


register("relu", Plain(_vector, lambda given: given["x"].relu()))
register("add", Plain(_two, lambda given: given["x"] + given["y"]))
register("multiply", Plain(_two, lambda given: given["x"] * given["y"]))
register("clamp", Plain(_vector, lambda given: given["x"].clamp(-0.5, 1.0)))
register("where", Plain(_two, lambda given: torch.where(given["x"] > given["y"], given["x"], given["y"])))
register("max-pool", Plain(_images, lambda given: functional.max_pool2d(given["x"], 3, stride=2, padding=1)))
register("nearest", Plain(_images, lambda given: functional.interpolate(given["x"], scale_factor=2.0, mode="nearest")))
register("topk", Plain(_vector, lambda given: _values(given["x"].topk(min(1000, len(given["x"]))))))
register("sort", Plain(_vector, lambda given: _values(given["x"].sort(descending=True))))
register("index-select", Plain(_matrix, lambda given: given["x"].index_select(0, given["rows"])))
register(
    "gather",
    Plain(_matrix, lambda given: given["x"].gather(0, given["rows"].reshape(-1, 1).expand(-1, given["x"].shape[1]))),
)
register("index-put", Plain(_matrix, _put))
register("scatter", Plain(_matrix, _scatter))
register("cat", Plain(_two, lambda given: torch.cat([given["x"], given["y"]])))
register("stack", Plain(_two, lambda given: torch.stack([given["x"], given["y"]], 1)))
register("transpose", Plain(_matrix, lambda given: given["x"].t().contiguous()))
register("cast-fp16", Plain(_vector, lambda given: given["x"].half().float()))
register("cast-bf16", Plain(_vector, lambda given: given["x"].bfloat16().float()))
register("unscale", Plain(_vector, lambda given: given["x"] * (1.0 / 65536.0)))
register("nms", Plain(_clear_boxes, _nms))
register("batched-nms", Plain(_clear_boxes, _batched_nms))
