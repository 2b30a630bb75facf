"""What this benchmark's numbers can be at most: a row beyond is of another model, or of another unit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from expected.documents.model import Row
from expected.documents.names import bare_name
from expected.documents.words import SPECIFICATIONS, Specification

HIGHEST_MAP = 0.45
"""Faster R-CNN with ResNet-50 and FPN reaches 0.37 in 26 epochs of COCO, and 0.42 with the longest known schedules."""
LEAST_TFLOP_PER_IMAGE = 0.4
"""A lower bound on the work of a training step: the forward pass of an image of 800 x 1333 alone takes 0.27."""
MOST_IMAGES_PER_S = 1000.0
"""Of a device without a known data sheet: several times what any delivers."""
EPOCH_IMAGES = 117_266
MOST_EPOCHS = 26

_SIZE = re.compile(r"(?<![0-9A-Za-z.])([0-9]{1,4}(?:\.[0-9]+)?)\s*(?:GiB|GB|G)(?![0-9A-Za-z/])", re.IGNORECASE)
_ROUNDING = 1.02


@dataclass(frozen=True)
class Limits:
    """The most that a device can do: GiB of memory (None if it is not known), and images/s a device."""

    memory_gib: float | None
    images_per_s: float
    origin: str

    def violation(self, row: Row) -> tuple[str, str] | None:
        """Return (metric, reason) for a row that this device cannot have measured of this model; None for others."""
        known = {name: stated.value for name, stated in row.metrics.items() if stated.value is not None}
        if known.get("map", 0.0) > HIGHEST_MAP:
            return "map", f"above {HIGHEST_MAP}, which this model does not reach on COCO; is it another model's table?"
        memory = self._memory(row)
        if memory:
            return "mem", memory
        most = self.images_per_s * row.topology.ranks
        for name in ("p_core", "p_train", "p_whole"):
            if known.get(name, 0.0) > most:
                return name, f"above {most:g} images/s, {self._why(row)}; is it another model's table?"
        return self._time(known, most)

    def _why(self, row: Row) -> str:
        return f"more than {self.origin} allows ({self.images_per_s:g} a device, {row.topology.ranks} of them)"

    def _memory(self, row: Row) -> str:
        mem = row.metrics["mem"]
        largest = max((one for one in (mem.value, mem.capacity) if one is not None), default=0.0)
        if self.memory_gib is None or largest <= self.memory_gib * _ROUNDING:
            return ""
        return f"more than the {self.memory_gib:g} GiB that this device has"

    def _time(self, known: dict[str, float], most: float) -> tuple[str, str] | None:
        """Hold e2e_time against the images of a training: one epoch at least, 26 with twice their time at most."""
        if "e2e_time" not in known:
            return None
        least_s = EPOCH_IMAGES / known.get("p_whole", most)
        if known["e2e_time"] < least_s:
            return "e2e_time", f"less than one epoch of {EPOCH_IMAGES} images takes ({least_s:.0f} s); in which unit?"
        most_s = 2 * MOST_EPOCHS * least_s
        if "p_whole" in known and known["e2e_time"] > most_s:
            return "e2e_time", f"more than twice the time of {MOST_EPOCHS} epochs ({most_s:.0f} s); in which unit?"
        return None


def limits_of(device: str, card: str) -> Limits:
    """Return the limits of a device by its short name, and by the sizes of memory in it and in the text on its card."""
    known = SPECIFICATIONS.get(bare_name(device))
    sizes = [float(size) for size in _SIZE.findall(f"{device} {card}")] or list(known.memory_gib if known else ())
    rate = MOST_IMAGES_PER_S if known is None else _images_per_s(known)
    origin = "any known device" if known is None else "its data sheet"
    return Limits(max(sizes, default=None), rate, origin)


def _images_per_s(known: Specification) -> float:
    return known.peak_tflops / LEAST_TFLOP_PER_IMAGE
