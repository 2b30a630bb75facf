"""A step of Faster R-CNN on a made-up device, layer by layer: kernels in a queue, a host that launches, DDP's buckets.

It gives the evidence that such a run leaves, to see whether its explanation names what was made slow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Iterator, Mapping

import numpy as np

from evidence.events.links import CollectiveResult, LinksDone
from evidence.events.peaks import DeviceRate, Layers, conv_name
from expected.rates import Rate
from trainer.probes.catalogue import HEAVIEST

IMAGES, STEPS, SIDES = 16, 50, (800, 1344)
BUCKETS = tuple(int(mib * 2**20) for mib in (1.42, 53.36, 28.02, 29.00, 26.75, 19.88))
STAGES = ((64, 64, 256, 4, 3), (256, 128, 512, 8, 4), (512, 256, 1024, 16, 6), (1024, 512, 2048, 32, 3))
"""Of ResNet-50: channels in, of the middle, and out; stride; blocks."""


@dataclass(frozen=True)
class Kernel:
    """A layer of the model in one direction: what it computes and moves for a batch, and the gradients it leaves."""

    name: str
    kind: str
    size: str
    part: str
    flops: float
    bytes: float
    gradients: int = 0


@dataclass(frozen=True)
class Device:
    """What the device reaches; `convolutions` are efficiencies by name, `unfused` what small kernels take longer."""

    gemm_tflops: float = 120.0
    memory_gb_per_s: float = 1400.0
    launch_us: float = 6.0
    link_gb_per_s: float = 150.0
    convolutions: Mapping[str, float] = field(default_factory=dict)
    convolution: float = 0.8
    unfused: float = 1.1

    def seconds(self, kernel: Kernel) -> float:
        """Return how long a kernel takes."""
        is_spatial = kernel.kind == "Conv2d" and "-1x1-" not in kernel.size
        share = self.convolutions.get(kernel.size, self.convolution if is_spatial else 1.0)
        least = max(kernel.flops / (self.gemm_tflops * 1e12 * share), kernel.bytes / (self.memory_gb_per_s * 1e9))
        return least * (1.0 if kernel.flops > kernel.bytes else self.unfused)


def forward() -> Iterator[Kernel]:
    """Yield the layers of the forward pass."""

    def conv(name: str, cin: int, cout: int, k: int, stride: int) -> Iterator[Kernel]:
        h, w = SIDES[0] // stride, SIDES[1] // stride
        size = conv_name({"cin": cin, "cout": cout, "k": k, "h": h, "w": w})
        flops = 2 * IMAGES * cin * cout * k * k * h * w
        moved = 4 * (IMAGES * (cin + cout) * h * w + cin * cout * k * k)
        yield Kernel(name, "Conv2d", size, "forward", flops, moved, 4 * cin * cout * k * k)

    def elementwise(name: str, kind: str, channels: int, stride: int, passes: int) -> Iterator[Kernel]:
        elements = IMAGES * channels * (SIDES[0] // stride) * (SIDES[1] // stride)
        yield Kernel(name, kind, "", "forward", 0.0, 4.0 * passes * elements)

    for number, (cin, mid, out, stride, blocks) in enumerate(STAGES, start=1):
        for block in range(blocks):
            name = f"layer{number}.{block}"
            for index, (a, b, k) in enumerate(((cin if block == 0 else out, mid, 1), (mid, mid, 3), (mid, out, 1))):
                yield from conv(f"{name}.conv{index + 1}", a, b, k, stride)
                yield from elementwise(f"{name}.bn{index + 1}", "FrozenBatchNorm2d", b, stride, 2)
                yield from elementwise(f"{name}.relu{index + 1}", "ReLU", b, stride, 2)
            yield from elementwise(name, "residual", out, stride, 3)
    for number, (_, _, out, stride, _) in enumerate(STAGES):
        yield from conv(f"fpn.inner{number}", out, 256, 1, stride)
        yield from conv(f"fpn.layer{number}", 256, 256, 3, stride)
        yield from conv(f"rpn.conv{number}", 256, 256, 3, stride)
    for name, k, m in (("fc6", 12544, 1024), ("fc7", 1024, 1024)):
        rows = 512 * IMAGES
        yield Kernel(name, "Linear", "", "forward", 2.0 * rows * k * m, 4.0 * (rows * (k + m) + k * m), 4 * k * m)


def backward() -> list[Kernel]:
    """The layers of the backward pass, in its order; each takes twice its forward pass. The first stage is frozen."""
    return [
        Kernel(one.name, one.kind, one.size, "backward", 2 * one.flops, 2 * one.bytes, one.gradients)
        for one in reversed(list(forward()))
        if not one.name.startswith("layer1")
    ]


def run(device: Device) -> tuple[float, float, float]:
    """Return what a step takes, its forward pass, and the host until all is queued, in s."""
    host = queue = forward_s = 0.0
    ready: list[float] = []
    gradients = 0
    sent = np.cumsum(BUCKETS) * (sum(one.gradients for one in backward()) / sum(BUCKETS))
    for kernel in (*forward(), *backward()):
        host += device.launch_us / 1e6
        queue = max(queue, host) + device.seconds(kernel)
        if kernel.part == "forward":
            forward_s = queue
        else:
            gradients += kernel.gradients
            while len(ready) < len(BUCKETS) and gradients >= round(sent[len(ready)]):
                ready.append(queue)
    ended = 0.0
    for at, size in zip(ready, BUCKETS):
        ended = max(ended, at) + exchange_s(device, size)
    return max(queue, ended), forward_s, host


def exchange_s(device: Device, size: int) -> float:
    """Return the all-reduce of a bucket on eight ranks, by bus bandwidth."""
    return 1.75 * size / (device.link_gb_per_s * 1e9) + 30e-6


def evidence(device: Device, ranks: int = 8) -> Any:
    """Return what the run of the device leaves behind, as far as the explanation reads it."""
    step_s, forward_s, host_s = run(device) if ranks > 1 else run(_with_fast_link(device))
    first, last = list(forward()), {one.name: one for one in backward()}
    layers = Layers(
        images=IMAGES,
        padded_pixels=IMAGES * SIDES[0] * SIDES[1],
        name=tuple(one.name for one in first),
        kind=tuple(one.kind for one in first),
        size=tuple(one.size for one in first),
        forward_flops=tuple(int(one.flops) for one in first),
        backward_flops=tuple(int(last[one.name].flops) if one.name in last else 0 for one in first),
        forward_bytes=tuple(int(one.bytes) for one in first),
        backward_bytes=tuple(int(last[one.name].bytes) if one.name in last else 0 for one in first),
        gradient_bytes=tuple(last[one.name].gradients if one.name in last else 0 for one in first),
    )
    measured = SimpleNamespace(
        steps=STEPS,
        compute_ns=np.full(STEPS, int(step_s * 1e9)),
        compute_host_ns=np.full(STEPS, int(host_s * 1e9)),
        forward_ns=np.full(STEPS, int(forward_s * 1e9)),
        forward_images=np.full(STEPS, IMAGES),
        images=np.full(STEPS, IMAGES),
        padded_pixels=np.full(STEPS, layers.padded_pixels),
    )
    exchanges = tuple(
        CollectiveResult("all-reduce", size, times_ns=(int(exchange_s(device, size) * 1e9),), bucket=True)
        for size in BUCKETS
    )
    one = {
        "layers": layers,
        "rates": tuple(_rates(device)),
        "windows": SimpleNamespace(measured=measured),
        "start": SimpleNamespace(timing="device_events", card=0, host="a"),
        "collectives": exchanges if ranks > 1 else (),
        "links_done": LinksDone("quick", 0, 0, 0, 0.0, 0.0, BUCKETS) if ranks > 1 else None,
    }
    return SimpleNamespace(ranks=[SimpleNamespace(rank=rank, **one) for rank in range(ranks)], starts=())


def _with_fast_link(device: Device) -> Device:
    return Device(**{**vars(device), "link_gb_per_s": 1e6})


def _rates(device: Device) -> Iterator[DeviceRate]:
    def rate(of: str, amount: float, seconds: float, **more: Any) -> DeviceRate:
        return DeviceRate(of, int(amount), 1, (int(seconds * 1e9),), checked=1, **more)

    yield rate("memory-copy", 1e10, 1e10 / (device.memory_gb_per_s * 1e9))
    yield rate("gemm", 1e12, 1 / device.gemm_tflops, precision="tf32")
    kernels = {(one.size, one.part): one for one in (*forward(), *backward()) if one.size}
    for size in HEAVIEST:
        for part in ("forward", "backward"):
            kernel = kernels[conv_name(size), part]
            more = {"precision": "tf32", "part": part, "size": dict(size)}
            yield rate("convolution", kernel.flops, device.seconds(kernel), **more)


SPECIFIED = SimpleNamespace(
    rates=(
        Rate("gemm", 130.0, "TFLOPS", "specification", "a data sheet", precision="tf32"),
        Rate("memory-copy", 1555.0, "GB/s", "specification", "a data sheet"),
    )
)
"""The cell of the device, as far as the explanation reads it."""
