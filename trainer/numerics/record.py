"""Records at which sizes a real training step computes the operators of the catalogue, for the full probe.

    python -m trainer.numerics.record    # writes trainer/numerics/recorded.json; needs torch 2

Forward pass and losses of Faster R-CNN R50-FPN on a picture of 600 x 1000 pixels, which the model resizes to
800 x 1333 and pads to 800 x 1344; once with one such picture and once with two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import torch
import torchvision
from torch.overrides import TorchFunctionMode
from torchvision.ops.misc import FrozenBatchNorm2d

from evidence.run_file import PROBES
from trainer.model.networks import build_model
from trainer.numerics.catalogue import CATALOGUE, RECORDED, Size
from trainer.settings import Settings

_MODEL = "fasterrcnn_resnet50_fpn"
_PICTURE = (600, 1000)
_BATCHES = (1, 2)
_BOXES = 8
_LARGEST = 2  # sizes of an operator that only goes through numbers
_BY_NUMBER = ("n",)

Found = Iterator["tuple[str, Size]"]


def _planes(x: torch.Tensor) -> Size:
    return dict(zip(("n", "c", "h", "w"), x.shape))


def _convolution(x: torch.Tensor, weight: torch.Tensor, bias: Any, stride: Any, *others: Any) -> Found:
    cout, _, k, _ = weight.shape
    n, cin, h, w = x.shape
    yield "conv2d", {"n": n, "cin": cin, "h": h, "w": w, "cout": cout, "k": k, "stride": stride[0]}


def _linear(x: torch.Tensor, weight: torch.Tensor, *others: Any) -> Found:
    yield "linear", {"n": x.shape[0], "k": x.shape[1], "m": weight.shape[0]}


def _pooling(x: torch.Tensor, kernel_size: Any, *others: Any, **named: Any) -> Found:
    if kernel_size == 3:  # the one of 1 x 1 on top of FPN only takes every second number
        yield "max-pool", _planes(x)
        yield "max-pool-grad", _planes(x)


def _resizing(x: torch.Tensor, *others: Any, mode: str = "nearest", **named: Any) -> Found:
    yield "interpolate" if mode == "bilinear" else "nearest", _planes(x)


def _pooled_regions(x: torch.Tensor, boxes: torch.Tensor, *others: Any) -> Found:
    yield "roi-align", {**_planes(x), "n": 1, "boxes": len(boxes)}


def _rows(name: str) -> Callable[..., Found]:
    def found(x: torch.Tensor, *others: Any, **named: Any) -> Found:
        yield name, {"n": x.shape[0], "c": x.shape[1]}

    return found


def _numbers(*names: str) -> Callable[..., Found]:
    def found(x: Any, *others: Any, **named: Any) -> Found:
        size = sum(one.numel() for one in x) if isinstance(x, (list, tuple)) else x.numel()
        yield from ((name, {"n": size}) for name in names)

    return found


def _smooth_l1(x: torch.Tensor, *others: Any, **named: Any) -> Found:
    yield "smooth-l1", {"n": x.numel() // 4, "c": 4}


def _best(x: torch.Tensor, *others: Any, **named: Any) -> Found:
    yield from (("topk", {"n": x.shape[-1]}), ("sort", {"n": x.shape[-1]}))


def _suppression(boxes: torch.Tensor, *others: Any) -> Found:
    yield from (("nms", {"n": len(boxes)}), ("batched-nms", {"n": len(boxes)}))


_CALLS: Mapping[Any, Callable[..., Found]] = {
    torch.conv2d: _convolution,
    torch.nn.functional.linear: _linear,
    torch.nn.functional.max_pool2d: _pooling,
    torch.nn.functional.interpolate: _resizing,
    torch.ops.torchvision.roi_align: _pooled_regions,
    torch.ops.torchvision.roi_align.default: _pooled_regions,
    torch.ops.torchvision.nms: _suppression,
    torch.ops.torchvision.nms.default: _suppression,
    torch.nn.functional.cross_entropy: _rows("cross-entropy"),
    torch.nn.functional.binary_cross_entropy_with_logits: _numbers("bce-with-logits"),
    torch.nn.functional.smooth_l1_loss: _smooth_l1,
    torch.nn.functional.relu: _numbers("relu"),
    torch.Tensor.topk: _best,
    torch.sigmoid: _numbers("sigmoid"),
    torch.exp: _numbers("exp"),
    torch.log: _numbers("log"),
    torch.Tensor.clamp: _numbers("clamp"),
    torch.clamp: _numbers("clamp"),
    torch.cat: _numbers("cat"),
    torch.where: _numbers("where"),
    torch.Tensor.add: _numbers("add"),
    torch.Tensor.add_: _numbers("add"),
    torch.Tensor.__iadd__: _numbers("add"),
    torch.Tensor.__add__: _numbers("add"),
    torch.Tensor.mul: _numbers("multiply"),
    torch.Tensor.__mul__: _numbers("multiply"),
}


class Recorder(TorchFunctionMode):
    """Notes the size of every call of a function of `_CALLS`."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, list[Size]] = {name: [] for name in CATALOGUE}

    def __torch_function__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        for name, size in _CALLS.get(function, _nothing)(*given, **(named or {})):
            self.note(name, size)
        return function(*given, **(named or {}))

    def note(self, name: str, size: Size) -> None:
        if size not in self.sizes[name] and min(size.values()) > 0:
            self.sizes[name].append(size)


def _nothing(*given: Any, **named: Any) -> Found:
    return iter(())


def record(batch: int) -> dict[str, list[Size]]:
    """Return the sizes of a step with so many pictures by operator, without those that the catalogue does not have."""
    torch.manual_seed(0)
    settings = Settings(Path("."), Path("."), protocol=PROBES, model=_MODEL)
    model = build_model(settings)
    recorder = Recorder()

    def after(module: torch.nn.Module, given: Any, result: torch.Tensor) -> None:
        recorder.note("frozen-batch-norm", _planes(given[0]))
        recorder.note("conv-bn-relu", recorder.sizes["conv2d"][-1])

    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.register_forward_hook(after)
    height, width = _PICTURE
    corner = torch.rand(batch, _BOXES, 2) * 0.5 * torch.tensor([width, height])
    sides = torch.rand(batch, _BOXES, 2) * 0.4 * torch.tensor([width, height]) + 8
    targets = [
        {"boxes": torch.cat([low, low + side], 1), "labels": torch.randint(1, settings.num_classes, (_BOXES,))}
        for low, side in zip(corner, sides)
    ]
    with recorder:
        model([torch.rand(3, height, width) for _ in range(batch)], targets)
    for parameter in model.parameters():
        if parameter.requires_grad:
            for name in ("sgd", "sum-of-squares", "unscale"):
                recorder.note(name, {"n": parameter.numel()})
    return {name: _some(sizes) for name, sizes in recorder.sizes.items() if sizes}


def _some(sizes: list[Size]) -> list[Size]:
    """Return the sizes, of those that are a mere number of elements the largest."""
    if tuple(sizes[0]) != _BY_NUMBER:
        return sizes
    return sorted(sizes, key=lambda size: -size["n"])[:_LARGEST]


def main() -> None:
    """Record a step for each batch, and write the file."""
    torch.use_deterministic_algorithms(False)
    sizes = {str(batch): record(batch) for batch in _BATCHES}
    source = {
        "model": _MODEL,
        "picture": _PICTURE,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "command": "python -m trainer.numerics.record",
    }
    blocks = [f' "recorded_from": {json.dumps(source)}']
    for batch, found in sizes.items():
        lines = [
            f"  {json.dumps(name)}: [\n   " + ",\n   ".join(map(json.dumps, each)) + "]" for name, each in found.items()
        ]
        blocks.append(f' "batch {batch}": {{\n' + ",\n".join(lines) + "}")
    RECORDED.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
