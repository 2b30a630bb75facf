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
    forward_flops: int = 0
    backward_flops: int = 0
    forward_bytes: int = 0
    backward_bytes: int = 0
    gradient_bytes: int = 0


class LayerCount:
    """Counts the first training step of `model`, a torchvision detector, and passes the event to `write`; then ends.

    The optimizer is SGD with momentum.
    """

    def __init__(self, model: torch.nn.Module, write: Callable[[Layers], None]) -> None:
        self._model, self._write = model, write
        self._rows: list[_Row] = []
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
                row = _row(name, module, inputs[0], output)
                is_first = all(other.name != name for other in self._rows)
                self._rows.append(row if is_first else replace(row, gradient_bytes=0))

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
        rows = [*self._rows, optimizer]
        columns: dict[str, Any] = {name: tuple(getattr(row, name) for row in rows) for name in vars(optimizer)}
        self._write(Layers(images=self._images, padded_pixels=self._pixels, **columns))


def _row(name: str, module: torch.nn.Module, given: Any, output: torch.Tensor) -> _Row:
    """Return what one call of a layer computes."""
    kind, of_output = type(module).__name__, output.numel() * output.element_size()
    if not isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
        of_input = given.numel() * given.element_size() if isinstance(given, torch.Tensor) else of_output
        first = of_input + of_output
        if isinstance(module, (BasicBlock, Bottleneck)):
            kind, first = "residual", 3 * of_output
        return _Row(name, kind, forward_bytes=first, backward_bytes=(first + of_output) * output.requires_grad)
    weight = module.weight
    of_input, of_weight = given.numel() * output.element_size(), weight.numel() * weight.element_size()
    flops, moved = 2 * output.numel() * (weight.numel() // weight.shape[0]), of_input + of_output + of_weight
    passes, size = int(given.requires_grad) + int(weight.requires_grad), ""
    if isinstance(module, torch.nn.Conv2d):
        cout, cin, k, _ = weight.shape
        size = conv_name({"cin": cin, "cout": cout, "k": k, "h": output.shape[2], "w": output.shape[3]})
    gradients = sum(one.numel() * one.element_size() for one in module.parameters() if one.requires_grad)
    return _Row(name, kind, size, flops, passes * flops, moved, passes * moved, gradients)
