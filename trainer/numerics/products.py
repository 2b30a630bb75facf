"""Convolution and linear layers, and blocks around them."""

from __future__ import annotations

import torch
from torch.nn import functional

from trainer.numerics.catalogue import Size
from trainer.numerics.operators import Draw, Operator, Tensors, operator


@operator("linear")
class Linear(Operator):
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
class Conv2d(Operator):
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
            columns = functional.unfold(x, k, padding=pad, stride=stride).permute(1, 0, 2).reshape(cin * k * k, -1)
            return upstream.permute(1, 0, 2, 3).reshape(cout, -1)[_quotient(picked, len(columns))], columns[
                picked % len(columns)
            ]
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
