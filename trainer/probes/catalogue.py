"""What the probes of copies, memory and peaks ask: formats, and the heaviest convolutions of the model. No torch."""

from __future__ import annotations

from typing import Mapping

from evidence.events.peaks import GEMM, conv_name

HEAVIEST: tuple[Mapping[str, int], ...] = (
    {"cin": 256, "cout": 256, "k": 3, "h": 200, "w": 336},
    {"cin": 256, "cout": 256, "k": 3, "h": 100, "w": 168},
    {"cin": 256, "cout": 256, "k": 3, "h": 50, "w": 84},
    {"cin": 128, "cout": 128, "k": 3, "h": 100, "w": 168},
    {"cin": 512, "cout": 512, "k": 3, "h": 25, "w": 42},
)
"""Of Faster R-CNN (ResNet-50 + FPN) at 800x1344 the five that take the most FLOPs of a training step, alike ones added.

`h` and `w` are the output's sides. tests/trainer/test_layers.py counts them in the model.
"""


def formats(precision: str, tf32: bool) -> tuple[str, ...]:
    """Return the formats that products are measured in: fp32, and the one in which a row of that precision multiplies.

    >>> formats("amp", tf32=False)
    ('fp32', 'fp16')
    """
    own = {"amp": "fp16", "fp16": "fp16", "bf16": "bf16"}.get(precision, "tf32" if tf32 else "fp32")
    return tuple(dict.fromkeys(("fp32", own)))


def peaks(precision: str, tf32: bool) -> tuple[str, ...]:
    """Return the names of the products that are asked for: DeviceRate.peak."""
    return (*(f"{one}-{GEMM}" for one in formats(precision, tf32)), *map(conv_name, HEAVIEST))
