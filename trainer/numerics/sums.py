"""Reductions, losses, regions and other operators that add numbers up."""

from __future__ import annotations

from typing import Callable, ClassVar

import torch
import torchvision
from torch.nn import functional

from trainer.numerics.catalogue import Size
from trainer.numerics.operators import Draw, Operator, Plain, Tensors, operator, register


class _Reduction(Plain):
    """`n` numbers to one: the sum of each times its factor."""

    def __init__(
        self,
        draw: Callable[[Size, Draw], torch.Tensor],
        apply: Callable[[torch.Tensor], torch.Tensor],
        factors: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        super().__init__(lambda size, drawn: {"x": draw(size, drawn)}, lambda given: apply(given["x"]))
        self._factors = factors

    def terms(
        self, direction: str, size: Size, inputs: Tensors, picked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        x = inputs["x"].reshape(1, -1)
        return x, self._factors(x)


def _normal(size: Size, draw: Draw) -> torch.Tensor:
    return draw.normal(size["n"])


register("sum", _Reduction(_normal, torch.sum, torch.ones_like))
# Of one sign.
register(
    "mean",
    _Reduction(
        lambda size, draw: draw.uniform(size["n"]), torch.mean, lambda x: torch.full_like(x, 1.0 / max(1, x.numel()))
    ),
)
# As under the root of a gradient's norm.
register("sum-of-squares", _Reduction(_normal, lambda x: (x * x).sum(), lambda x: x))


class _Loss(Operator):
    """A loss over `n` predictions of `c` numbers; the mean, and its gradient."""

    def condition(self, direction: str, size: Size, inputs: Tensors) -> torch.Tensor:
        if direction == "forward":
            return self.magnitude(size, inputs).sum() / size["n"]
        return self.slope(size, inputs) * (inputs["upstream"].abs() / size["n"])

    def magnitude(self, size: Size, inputs: Tensors) -> torch.Tensor:
        """Return the largest number met on the way to each prediction's loss."""
        raise NotImplementedError

    def slope(self, size: Size, inputs: Tensors) -> torch.Tensor:
        """Return the sum of absolute values in each element of the gradient of the loss's sum."""
        raise NotImplementedError


@operator("cross-entropy")
class CrossEntropy(_Loss):
    """Cross entropy of `c` classes."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        return {
            "x": draw.normal(size["n"], size["c"], scale=3.0),
            "target": draw.whole(size["n"], below=size["c"]),
            "upstream": torch.ones(()),
        }

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return functional.cross_entropy(inputs["x"], inputs["target"])

    def magnitude(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return inputs["x"].abs().max(1)[0] + torch.logsumexp(inputs["x"], 1).abs() + 1

    def slope(self, size: Size, inputs: Tensors) -> torch.Tensor:
        # exp(x - max): the difference is rounded, and its rounding error is multiplied by the exponential.
        x = inputs["x"]
        away = (x - x.max(1, keepdim=True)[0]).abs()
        return functional.softmax(x, 1) * (2 + away) + functional.one_hot(inputs["target"], size["c"])


@operator("bce-with-logits")
class BinaryCrossEntropy(_Loss):
    """Binary cross entropy with logits; `c` is 1."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        return {
            "x": draw.normal(size["n"], scale=3.0),
            "target": draw.whole(size["n"], below=2).float(),
            "upstream": torch.ones(()),
        }

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(inputs["x"], inputs["target"])

    def magnitude(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return inputs["x"].abs() + 1

    def slope(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return torch.sigmoid(inputs["x"]) * 2 + inputs["target"]


@operator("smooth-l1")
class SmoothL1(_Loss):
    """Smooth L1 with beta 1/9, as of the RPN."""

    beta: ClassVar[float] = 1.0 / 9

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        shape = (size["n"], size["c"])
        return {"x": draw.normal(*shape), "target": draw.normal(*shape), "upstream": torch.ones(())}

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        loss = functional.smooth_l1_loss(inputs["x"], inputs["target"], beta=self.beta, reduction="sum")
        return loss / size["n"]

    def magnitude(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return inputs["x"].abs() + inputs["target"].abs()

    def slope(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return torch.clamp((inputs["x"].abs() + inputs["target"].abs()) / self.beta, min=1.0)


@operator("roi-align")
class RoiAlign(Operator):
    """`boxes` regions of one image of `c` x `h` x `w`, to 7 x 7 cells of 2 x 2 samples."""

    fixed = ("boxes",)

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        c, h, w, boxes = (size[name] for name in ("c", "h", "w", "boxes"))
        # Corners at eighths of a cell: their sample points, and so the weights of the four neighbours, are exact in
        # fp32, so that nothing depends on how a framework rounds a position.
        corner = draw.whole(boxes, 2, below=4 * min(h, w)).float() / 8
        sides = (draw.whole(boxes, 2, below=4).float() + 1) * 1.75
        return {
            "x": draw.normal(1, c, h, w),
            "boxes": torch.cat([torch.zeros(boxes, 1), corner, corner + sides], 1),
            "upstream": draw.normal(boxes, c, 7, 7),
        }

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return torchvision.ops.roi_align(inputs["x"], inputs["boxes"].to(inputs["x"].dtype), 7, 1.0, 2)


def _doubled(size: Size, draw: Draw) -> Tensors:
    n, c, h, w = (size[name] for name in ("n", "c", "h", "w"))
    return {"x": draw.normal(n, c, h, w), "upstream": draw.normal(n, c, 2 * h, 2 * w)}


def _interpolated(given: Tensors) -> torch.Tensor:
    """Bilinear: weights of quarters, which every dtype holds."""
    return functional.interpolate(given["x"], scale_factor=2.0, mode="bilinear", align_corners=False)


def _scaled(size: Size, draw: Draw) -> Tensors:
    n, c, h, w = (size[name] for name in ("n", "c", "h", "w"))
    return {
        "x": draw.normal(n, c, h, w),
        "scale": draw.uniform(c, low=0.5, high=1.5),
        "shift": draw.normal(c),
        "upstream": draw.normal(n, c, h, w),
    }


def _normalised(given: Tensors) -> torch.Tensor:
    """Two roundings, or one where they are fused."""
    scale, shift = (given[name].reshape(1, -1, 1, 1) for name in ("scale", "shift"))
    return given["x"] * scale + shift


register("interpolate", Plain(_doubled, _interpolated))
register("frozen-batch-norm", Plain(_scaled, _normalised))


@operator("sgd")
class SgdUpdate(Operator):
    """SGD with momentum and weight decay on `n` parameters, as torch.optim.SGD computes it."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        n = size["n"]
        return {"x": draw.normal(n), "gradient": draw.normal(n), "buffer": draw.normal(n)}

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        # The optimizer itself would change its argument; absolute values of all give the condition of p + lr * v.
        sign = -1.0 if size.get("absolute") is None else 1.0
        step = inputs["buffer"] * 0.9 + (inputs["gradient"] + inputs["x"] * 1e-4)
        return inputs["x"] + step * (sign * 0.02)

    def condition(self, direction: str, size: Size, inputs: Tensors) -> torch.Tensor:
        return super().condition(direction, {**size, "absolute": 1}, inputs)


@operator("max-pool-grad")
class MaxPoolBackward(Operator):
    """The gradient of max pooling, 3 x 3 with stride 2: up to four numbers are added up in an element."""

    fixed = ("x",)

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        n, c, h, w = (size[name] for name in ("n", "c", "h", "w"))
        x = draw.order(n * c * h * w).float().reshape(n, c, h, w)  # no two alike: one element a window is the largest
        return {"x": x, "upstream": draw.normal(n, c, (h + 1) // 2, (w + 1) // 2)}

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return functional.max_pool2d(inputs["x"], 3, stride=2, padding=1)
