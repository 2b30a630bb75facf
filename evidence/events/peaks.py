"""What a device does at most: rates of copies, memory, products and convolutions; and the layers of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

from evidence.events.declare import event

HOST_TO_DEVICE, DEVICE_TO_HOST = "host-to-device", "device-to-host"
COPIES = (HOST_TO_DEVICE, DEVICE_TO_HOST)
MEMORY_COPY, MEMORY_TRIAD, PATTERNS = "memory-copy", "memory-triad", "memory-patterns"
GEMM, CONVOLUTION = "gemm", "convolution"
PRODUCTS = (GEMM, CONVOLUTION)
"""What is measured: copies and memory in bytes (read and written ones added), products in FLOPs (2 a multiply-add)."""


@event("device_rate")
@dataclass(frozen=True)
class DeviceRate:
    """Repeats of one piece of work on the device: `amount` FLOPs or bytes, `units` times in each of `times_ns`.

    `of` is what it is, as in HOST_TO_DEVICE; `precision` the format of products, else ""; `part` "forward" or
    "backward" of a convolution, else "". `size` names the dimensions, of a convolution those of the model, beside
    what was computed: images `n`, channels `inputs` and `outputs`, sides `rows` and `columns`. `devices` of the host
    worked at once; `pinned` is the host's memory of a copy, else None. Of the result `checked` numbers were compared,
    of which `wrong` differed; `error`: why nothing was measured, else "".
    """

    of: str
    amount: int
    units: int
    times_ns: tuple[int, ...]
    precision: str = ""
    part: str = ""
    size: Mapping[str, int] | None = None
    devices: int = 1
    pinned: bool | None = None
    checked: int = 0
    wrong: int = 0
    error: str = ""

    @property
    def peak(self) -> str:
        """What a product is one part of, as in fp32-gemm or conv-256-256-3x3-200x336; "" of copies and memory."""
        if self.of == GEMM:
            return f"{self.precision}-gemm"
        return conv_name(self.size or {}) if self.of == CONVOLUTION else ""

    @property
    def name(self) -> str:
        """What was measured in words, as in "host-to-device pinned, 8 at once"."""
        if self.of in PRODUCTS:
            return " ".join(filter(None, (self.peak, self.precision * (self.of == CONVOLUTION), self.part)))
        kind = {True: " pinned", False: " pageable", None: ""}[self.pinned]
        return f"{self.of}{kind}{f', {self.devices} at once' if self.devices > 1 else ''}"

    @property
    def rate(self) -> float:
        """GB/s or TFLOPS of all repeats together; NaN without any."""
        total_ns = sum(self.times_ns)
        per_ns = self.amount * self.units * len(self.times_ns) / total_ns if total_ns > 0 else float("nan")
        return per_ns / 1e3 if self.of in PRODUCTS else per_ns


def conv_name(size: Mapping[str, int]) -> str:
    """Return the name of a convolution: channels in and out, kernel, and the output's sides.

    >>> conv_name({"cin": 256, "cout": 128, "k": 3, "h": 100, "w": 168})
    'conv-256-128-3x3-100x168'
    """
    return "conv-{cin}-{cout}-{k}x{k}-{h}x{w}".format(**size)


@event("sustained", once=True)
@dataclass(frozen=True)
class Sustained:
    """Matrix products for a minute: `amount` FLOPs, `units` times in each of `times_ns`, one after the other.

    Every few seconds the device was asked for its readings, which are `at_s` of work from the beginning:
    `core_clock_mhz`, `temperature_c`, `power_w`, [] of a tool that has none; `throttle` are the reasons that it gave.
    Of the last result `checked` numbers were compared, of which `wrong` differed.
    """

    precision: str
    amount: int
    units: int
    times_ns: tuple[int, ...]
    at_s: tuple[float, ...] = ()
    core_clock_mhz: tuple[float, ...] = ()
    temperature_c: tuple[float, ...] = ()
    power_w: tuple[float, ...] = ()
    throttle: tuple[str, ...] = ()
    checked: int = 0
    wrong: int = 0


@event("peaks", once=True)
@dataclass(frozen=True)
class PeaksDone:
    """The probes of copies, memory and peaks, which began at `begun_ns`, have ended with so many `rates`."""

    rates: int
    begun_ns: int
    t_ns: int = 0


@event("layers", once=True)
@dataclass(frozen=True)
class Layers:
    """What the layers of the model computed in one training step of `images` with `padded_pixels`, call by call.

    In columns, in the order of the forward pass. `kind` is the module's class, or "SGD" for the optimizer; `size` names
    a convolution as `conv_name` does, else "". `forward_flops` and `backward_flops` are 2 for each multiply-add;
    `forward_bytes` and `backward_bytes` what has to be read and written at least once: inputs, outputs, weights and
    their gradients. `gradient_bytes` are those of the weights, of the first call of a module.
    """

    images: int
    padded_pixels: int
    name: tuple[str, ...]
    kind: tuple[str, ...]
    size: tuple[str, ...]
    forward_flops: tuple[int, ...]
    backward_flops: tuple[int, ...]
    forward_bytes: tuple[int, ...]
    backward_bytes: tuple[int, ...]
    gradient_bytes: tuple[int, ...]
