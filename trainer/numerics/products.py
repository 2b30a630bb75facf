"""Convolution and linear layers, and blocks around them.

A product is linear in its weights and in the gradient that comes in: the sum of its result over the channels, each
times a factor, is the same product with the channels summed before, and costs as little as one channel.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from trainer.numerics.catalogue import Size
from trainer.numerics.operators import Draw, Operator, Tensors, operator

GROUP = 64
"""Channels that are summed: fewer show a smaller error, and cost more."""


class Product(Operator):
    """A layer with `x`, `weight` and `upstream`; the results of its passes have the shapes of these."""

    def shape(self, direction: str, inputs: Tensors) -> tuple[int, ...]:
        """Return the shape of the result of a pass."""
        return tuple(inputs[{"fprop": "upstream", "dgrad": "x", "wgrad": "weight", "bgrad": "bias"}[direction]].shape)

    def terms_of(self, direction: str, size: Size, inputs: Tensors) -> int:
        """Return how many products are added up in an element of the result; 0 if it has none."""
        if not inputs["weight"].numel() or not inputs["upstream"].numel():
            return 0
        found = self.terms(direction, size, inputs, torch.zeros(1, dtype=torch.int64))
        assert found is not None
        return found[0].shape[1]

    def folded(self, direction: str, inputs: Tensors, factors: torch.Tensor) -> Tensors | None:
        """Return inputs of which the pass gives the sums of the result over groups of channels, times factor i each.

        Channels are the result's dimension 0 for wgrad, else 1. None for what is not linear.
        """
        groups = len(grouped(factors, factors, 0))
        if direction == "dgrad":
            return {**inputs, "x": inputs["x"][:, :groups], "weight": grouped(inputs["weight"], factors, 1)}
        if direction == "wgrad":
            changed = {"weight": inputs["weight"][:groups], "upstream": grouped(inputs["upstream"], factors, 1)}
        else:
            changed = {"weight": grouped(inputs["weight"], factors, 0), "upstream": inputs["upstream"][:, :groups]}
        if "bias" in inputs:
            changed["bias"] = grouped(inputs["bias"], factors, 0)
        return {**inputs, **changed}


def grouped(values: torch.Tensor, factors: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the sums of values, times the factor of their place on the axis, over each GROUP neighbours on it."""
    scaled = values * factors.reshape([-1 if one == axis else 1 for one in range(values.dim())])
    return torch.cat([part.sum(axis, keepdim=True) for part in scaled.split(GROUP, axis)], axis)


@operator("linear")
class Linear(Product):
    """`n` rows of `k` numbers, as relu leaves them, times a matrix for `m` outputs."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        n, k, m = size["n"], size["k"], size["m"]
        return {
            "x": draw.normal(n, k).relu(),
            "weight": draw.normal(m, k, scale=k**-0.5),
            "bias": draw.normal(m, scale=0.1),
            "upstream": draw.normal(n, m),
        }

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return functional.linear(inputs["x"], inputs["weight"], inputs["bias"])

    def terms(
        self, direction: str, size: Size, inputs: Tensors, picked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        x, weight, upstream = inputs["x"], inputs["weight"], inputs["upstream"]
        if direction == "bgrad":
            return upstream.t()[picked], torch.ones(len(picked), size["n"], dtype=x.dtype)
        left, right = {"fprop": (x, weight), "dgrad": (upstream, weight.t()), "wgrad": (upstream.t(), x.t())}[direction]
        rows, columns = _quotient(picked, len(right)), picked % len(right)
        if direction != "fprop":
            return left[rows], right[columns]
        ones = torch.ones(len(picked), 1, dtype=x.dtype)
        return torch.cat([left[rows], ones], 1), torch.cat([right[columns], inputs["bias"][columns, None]], 1)


def _quotient(numbers: torch.Tensor, by: int) -> torch.Tensor:
    return torch.div(numbers, by, rounding_mode="floor")  # torch 1.12 warns of the operator


def _conv(size: Size, inputs: Tensors) -> torch.Tensor:
    pad = size["k"] // 2
    return functional.conv2d(inputs["x"], inputs["weight"], None, stride=size["stride"], padding=pad)


@operator("conv2d")
class Conv2d(Product):
    """`n` images of `cin` x `h` x `w`, a kernel of `k` x `k` for `cout` channels, padding k // 2, without bias."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        n, cin, h, w, cout, k = (size[name] for name in ("n", "cin", "h", "w", "cout", "k"))
        out = [(side + 2 * (k // 2) - k) // size["stride"] + 1 for side in (h, w)]
        return {
            "x": draw.normal(n, cin, h, w).relu(),
            "weight": draw.normal(cout, cin, k, k, scale=(cin * k * k) ** -0.5),
            "upstream": draw.normal(n, cout, *out),
        }

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        return _conv(size, inputs)

    def terms(
        self, direction: str, size: Size, inputs: Tensors, picked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        x, weight, upstream = inputs["x"], inputs["weight"], inputs["upstream"]
        k, stride, pad = size["k"], size["stride"], size["k"] // 2
        cout, cin = weight.shape[:2]
        if direction == "wgrad":
            padded, side = functional.pad(x, (pad,) * 4), upstream.shape[2:]
            patches = padded[
                torch.arange(len(x))[None, :, None, None],
                (_quotient(picked, k * k) % cin)[:, None, None, None],
                (_quotient(picked, k) % k)[:, None, None, None] + stride * torch.arange(side[0])[:, None],
                (picked % k)[:, None, None, None] + stride * torch.arange(side[1]),
            ]
            channels = upstream.permute(1, 0, 2, 3).reshape(cout, -1)
            return channels[_quotient(picked, cin * k * k)], patches.reshape(len(picked), -1)
        if direction == "fprop":
            padded, kernel, side = functional.pad(x, (pad,) * 4), weight.reshape(cout, -1), upstream.shape[2:]
            channels = cout
        else:  # the gradient with zeros between and around, folded with the kernel turned round
            h, w = x.shape[2:]
            padded = x.new_zeros(len(x), cout, h + k - 1, w + k - 1)
            spread = x.new_zeros(len(x), cout, h + 2 * pad, w + 2 * pad)
            rows, columns_ = ((side - 1) * stride + 1 for side in upstream.shape[2:])
            spread[:, :, :rows, :columns_][:, :, ::stride, ::stride] = upstream
            padded[:, :, k - 1 - pad :, k - 1 - pad :] = spread[:, :, : h + pad, : w + pad]
            kernel, side, stride = weight.flip(2, 3).permute(1, 0, 2, 3).reshape(cin, -1), (h, w), 1
            channels = cin
        column, rest = picked % side[1], _quotient(picked, side[1])
        row, rest = rest % side[0], _quotient(rest, side[0])
        channel, image = rest % channels, _quotient(rest, channels)
        at = torch.arange(k)
        patches = padded[
            image[:, None, None, None],
            torch.arange(padded.shape[1])[None, :, None, None],
            (row * stride)[:, None, None, None] + at[None, None, :, None],
            (column * stride)[:, None, None, None] + at[None, None, None, :],
        ]
        return patches.reshape(len(picked), -1), kernel[channel]


@operator("conv-bn-relu")
class ConvBnRelu(Conv2d):
    """Convolution, frozen batch norm and relu in a row, which a compiling framework may fuse."""

    def inputs(self, size: Size, draw: Draw) -> Tensors:
        cout = size["cout"]
        return {
            **super().inputs(size, draw),
            "scale": draw.uniform(cout, low=0.5, high=1.5),
            "shift": draw.normal(cout, scale=0.1),
        }

    def folded(self, direction: str, inputs: Tensors, factors: torch.Tensor) -> Tensors | None:
        return None  # relu is not linear

    def apply(self, size: Size, inputs: Tensors) -> torch.Tensor:
        scale, shift = (inputs[name].reshape(1, -1, 1, 1) for name in ("scale", "shift"))
        return (_conv(size, inputs) * scale + shift).relu()

    def terms(
        self, direction: str, size: Size, inputs: Tensors, picked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        found = super().terms(direction, size, inputs, picked)
        assert found is not None
        patches, kernel = found
        cells = inputs["upstream"].shape[2] * inputs["upstream"].shape[3]
        channel = _quotient(picked, cells) % size["cout"]
        scale, shift = inputs["scale"][channel, None], inputs["shift"][channel, None]
        return torch.cat([patches, torch.ones_like(shift)], 1), torch.cat([kernel * scale, shift], 1)

    def finish(self, sums: torch.Tensor) -> torch.Tensor:
        return sums.relu()
