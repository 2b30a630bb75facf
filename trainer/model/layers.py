"""Counts what the layers of a model compute in one training step, from the shapes that pass through them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable

import torch
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.misc import FrozenBatchNorm2d

from evidence.events.peaks import Layers, conv_name

_ELEMENTWISE = (torch.nn.BatchNorm2d, FrozenBatchNorm2d, torch.nn.ReLU, torch.nn.MaxPool2d, BasicBlock, Bottleneck)
"""Of a residual block its addition is counted."""
_SGD_NUMBERS, _SGD_FLOPS = 5, 4
"""Of a parameter: it and its momentum are read and written, its gradient is read."""


@dataclass(frozen=True)
class _Row:
    name: str
    kind: str
    size: str = ""
    calls: int = 1
    forward_flops: int = 0
    backward_flops: int = 0
    forward_bytes: int = 0
    backward_bytes: int = 0

    def and_as_many(self, other: _Row) -> _Row:
        """Return both rows in one."""
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("calls", "forward_flops", "backward_flops", "forward_bytes", "backward_bytes")
        }
        return replace(self, **sums)


class LayerCount:
    """Counts the first training step of `model`, a torchvision detector, and passes the event to `write`; then ends.

    Layers that are alike are one row. The optimizer is SGD with momentum.
    """

    def __init__(self, model: torch.nn.Module, write: Callable[[Layers], None]) -> None:
        self._model, self._write = model, write
        self._rows: dict[tuple[Any, ...], _Row] = {}
        self._images = self._pixels = 0
        self._handles = [model.transform.register_forward_hook(self._transformed)]
        for name, module in model.named_modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear, MultiScaleRoIAlign, *_ELEMENTWISE)):
                self._handles.append(module.register_forward_hook(self._hook(name)))
        self._handles.append(model.register_forward_hook(self._end))

    def _transformed(self, module: torch.nn.Module, _: object, output: Any) -> None:
        images, _channels, height, width = output[0].tensors.shape
        self._images, self._pixels = images, images * height * width

    def _hook(self, name: str) -> Callable[[torch.nn.Module, Any, Any], None]:
        def called(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            if self._model.training:
                row, signature = _row(name, module, inputs[0], output)
                known = self._rows.get(signature)
                self._rows[signature] = row if known is None else known.and_as_many(row)

        return called

    def _end(self, model: torch.nn.Module, _: object, output: object) -> None:
        if not model.training:
            return
        for handle in self._handles:
            handle.remove()
        trained = [one for one in model.parameters() if one.requires_grad]
        count = sum(one.numel() for one in trained)
        optimizer = _Row(
            "optimizer",
            "SGD",
            backward_flops=_SGD_FLOPS * count,
            backward_bytes=sum(_SGD_NUMBERS * one.numel() * one.element_size() for one in trained),
        )
        rows = [*self._rows.values(), optimizer]
        columns: dict[str, Any] = {name: tuple(getattr(row, name) for row in rows) for name in vars(optimizer)}
        self._write(Layers(images=self._images, padded_pixels=self._pixels, **columns))


def _row(name: str, module: torch.nn.Module, given: Any, output: torch.Tensor) -> tuple[_Row, tuple[Any, ...]]:
    """Return what one call of a layer computes, and what it has in common with layers that are alike."""
    kind, of_output = type(module).__name__, output.numel() * output.element_size()
    if not isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
        of_input = given.numel() * given.element_size() if isinstance(given, torch.Tensor) else of_output
        first = of_input + of_output
        if isinstance(module, (BasicBlock, Bottleneck)):
            kind, first = "residual", 3 * of_output
        back = (first + of_output) * output.requires_grad
        alike = (kind, tuple(output.shape[1:]), output.requires_grad)
        return _Row(name, kind, forward_bytes=first, backward_bytes=back), alike
    weight = module.weight
    of_input, of_weight = given.numel() * output.element_size(), weight.numel() * weight.element_size()
    flops, moved = 2 * output.numel() * (weight.numel() // weight.shape[0]), of_input + of_output + of_weight
    passes, size = int(given.requires_grad) + int(weight.requires_grad), ""
    if isinstance(module, torch.nn.Conv2d):
        cout, cin, k, _ = weight.shape
        size = conv_name({"cin": cin, "cout": cout, "k": k, "h": output.shape[2], "w": output.shape[3]})
    row = _Row(name, kind, size, 1, flops, passes * flops, moved, passes * moved)
    return row, (kind, size, tuple(weight.shape), given.shape[0], passes)
