"""Explains p_core: where the time of a step goes, against the device's own measured peaks.

Each layer of the model takes at least the longer of its FLOPs at the peak of matrix products and its bytes at the
memory's bandwidth (the roofline; Williams, Waterman, Patterson, 2009). What a step takes beyond that is convolutions
below that peak, exchange that the backward pass does not hide, launch overhead, and a rest.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Mapping, Sequence

from evidence.bundle import Evidence
from evidence.events.links import ALL_REDUCE
from evidence.events.peaks import CONVOLUTION, GEMM, MEMORY_COPY, MEMORY_TRIAD, DeviceRate, Layers
from evidence.events.rank import RankEvidence, Windows
from evidence.verdict import ProbeVerdict, Verdict
from expected import Cell
from expected.rates import SPECIFICATION
from verdict.metrics.statistics import total
from verdict.probes.answers import ProbeAnswer, place_of
from verdict.probes.peaks import published

COMPUTE, CONVOLUTIONS, MEMORY, EXCHANGE, LAUNCH, REST = PARTS = (
    *("compute", "convolutions", "memory", "exchange", "launch", "rest"),
)
"""Of a step: FLOPs at the peak of matrix products; what convolutions take beyond that; layers bound by memory; exchange
that is not hidden; waiting for the host's launches; what none of these explains."""

_OF_BATCH = ("Linear", "MultiScaleRoIAlign")
"""Layers that grow with the number of images and not with their pixels."""
_EXCEEDED = 1.1
"""The parts over the step from which the probes cannot explain it: they were disturbed, or ran other kernels."""
_HALVINGS = 50
_SYNCHRONISED = "synchronised"


@dataclass(frozen=True)
class Layer:
    """A row of the roofline: FLOPs and bytes of a step, forward and backward; `ms` at least, by what it is `bound`.

    `below_ms` is what a convolution takes longer, at the rates that were measured of convolutions; `backward_ms` of
    both is the backward pass, which leaves `gradient_bytes` to be exchanged.
    """

    name: str
    kind: str
    flops: float
    bytes: float
    bound: str
    ms: float
    below_ms: float = 0.0
    backward_ms: float = 0.0
    gradient_bytes: float = 0.0


@dataclass(frozen=True)
class Explanation:
    """The time of a step on one rank, by PARTS; `lost_ms` is what each part takes beyond what the device should need.

    That is all of it but for compute and memory, of which it is what a specification says they are too slow.
    `notes` say what was not measured.
    """

    rank: int
    step_ms: float
    host_ms: float
    images: float
    parts_ms: Mapping[str, float]
    lost_ms: Mapping[str, float]
    gemm_tflops: float
    memory_gb_per_s: float
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    @property
    def culprit(self) -> str:
        """The part in which most is lost; "" if the parts add up to more than the step, which then is unexplained."""
        if sum(self.parts_ms.values()) > _EXCEEDED * self.step_ms:
            return ""
        return max(self.lost_ms, key=lambda part: self.lost_ms[part])


def explain(evidence: Evidence, cell: Cell) -> Explanation | None:
    """Return where the time of a step goes, on the rank whose own work takes longest.

    None if the run trained nothing, or without the probes of peaks and memory.
    """
    found = [(rank, rank.windows.measured) for rank in evidence.ranks if rank.layers is not None and rank.rates]
    found = [(rank, windows) for rank, windows in found if windows.steps and total(windows.compute_ns) > 0]
    if not found:
        return None
    # Only in the forward pass does no rank wait for another.
    rank, windows = max(found, key=lambda one: _per_image(one[1]))
    return _explain(evidence, cell, rank, windows)


def _per_image(windows: Windows) -> float:
    images = total(windows.forward_images)
    return total(windows.forward_ns) / images if images else 0.0


def _explain(evidence: Evidence, cell: Cell, rank: RankEvidence, windows: Windows) -> Explanation | None:
    gemm = [one for one in rank.rates if one.of == GEMM and not one.error]
    moved = [one for one in rank.rates if one.of in (MEMORY_COPY, MEMORY_TRIAD) and not one.error]
    if not gemm or not moved or rank.layers is None:
        return None
    product, memory = gemm[-1], max(moved, key=lambda one: one.rate)
    convolutions = [one for one in rank.rates if one.of == CONVOLUTION and not one.error]
    steps = windows.steps
    step_ms, host_ms = (total(ns) / steps / 1e6 for ns in (windows.compute_ns, windows.compute_host_ns))
    layers = tuple(_layers(rank.layers, windows, product.rate, memory.rate, convolutions))
    parts = {
        COMPUTE: sum(one.ms for one in layers if one.bound == COMPUTE),
        CONVOLUTIONS: sum(one.below_ms for one in layers),
        MEMORY: sum(one.ms for one in layers if one.bound == MEMORY),
    }
    buckets = buckets_of(evidence)
    notes = [] if buckets or len(evidence.ranks) == 1 else ["the exchange was not measured, and is in the rest"]
    forward_ms = _per_image(windows) * total(windows.images) / steps / 1e6
    parts[EXCHANGE] = exposed_ms(buckets, ready_shares(layers, [size for size, _ in buckets]), step_ms - forward_ms)
    work_ms = sum(parts.values())
    is_host = rank.start is not None and rank.start.timing == _SYNCHRONISED
    parts[LAUNCH] = 0.0 if is_host else max(0.0, min(host_ms, step_ms) - work_ms)
    parts[REST] = max(0.0, step_ms - work_ms - parts[LAUNCH])
    lost = {part: ms for part, ms in parts.items() if part != COMPUTE}
    for part, rate in ((COMPUTE, product), (MEMORY, memory)):
        specified = published(cell, rate, SPECIFICATION)
        if specified is not None:
            lost[part] = parts[part] * max(0.0, 1 - rate.rate / specified.rate)
    return Explanation(
        rank=rank.rank,
        step_ms=step_ms,
        host_ms=host_ms,
        images=total(windows.images) / steps,
        parts_ms=parts,
        lost_ms=lost,
        gemm_tflops=product.rate,
        memory_gb_per_s=memory.rate,
        layers=layers,
        notes=tuple(notes),
    )


def _layers(
    counted: Layers, windows: Windows, tflops: float, gb_per_s: float, convolutions: Sequence[DeviceRate]
) -> list[Layer]:
    """Return the roofline of a measured step: counted in one step, scaled to the mean padded pixels of the others."""
    pixels = total(windows.padded_pixels) / windows.steps / counted.padded_pixels
    images = total(windows.images) / windows.steps / counted.images
    found = []
    for at, (name, kind, size) in enumerate(zip(counted.name, counted.kind, counted.size)):
        scale = 1.0 if kind == "SGD" else images if kind in _OF_BATCH else pixels
        flops, moved, ms, below_ms, both, bounds = 0.0, 0.0, 0.0, 0.0, 0.0, {COMPUTE: 0.0, MEMORY: 0.0}
        for part in ("forward", "backward"):
            part_flops = scale * getattr(counted, f"{part}_flops")[at]
            part_bytes = scale * getattr(counted, f"{part}_bytes")[at]
            computing, moving = part_flops / tflops / 1e9, part_bytes / gb_per_s / 1e6
            bounds[COMPUTE if computing >= moving else MEMORY] += max(computing, moving)
            ms += max(computing, moving)
            rate = nearest_rate(size, part, convolutions) if size else None
            below = 0.0 if rate is None else max(0.0, part_flops / rate / 1e9 - max(computing, moving))
            both = max(computing, moving) + below  # of the backward pass, which comes last
            flops, moved, below_ms = flops + part_flops, moved + part_bytes, below_ms + below
        bound = max(bounds, key=lambda one: bounds[one])
        found.append(Layer(name, kind, flops, moved, bound, ms, below_ms, both, counted.gradient_bytes[at]))
    return found


def nearest_rate(size: str, part: str, measured: Sequence[DeviceRate]) -> float | None:
    """Return the TFLOPS of a pass of a convolution: of the measured one that is nearest in channels, kernel and sides.

    `size` is as conv_name has it. None without a measured one of that kernel: a 1x1 convolution is a matrix product.
    """
    own = _octaves(size)
    alike = [one for one in measured if one.part == part and _octaves(one.peak)[0] == own[0] and one.rate > 0]
    nearest = min(alike, key=lambda one: math.dist(own, _octaves(one.peak)), default=None)
    return None if nearest is None else nearest.rate


def _octaves(size: str) -> tuple[float, ...]:
    """Return log2 of the kernel's side, of the channels in and out, and of the output's pixels."""
    cin, cout, kernel, sides = size.split("-")[1:]
    height, width = map(int, sides.split("x"))
    return tuple(math.log2(number) for number in (int(kernel.split("x")[0]), int(cin), int(cout), height * width))


def buckets_of(evidence: Evidence) -> list[tuple[int, float]]:
    """Return bytes and ms of the all-reduce of each of DDP's buckets, on the slowest rank; [] where not measured."""
    longest: dict[int, float] = {}
    for rank in evidence.ranks:
        for one in rank.collectives:
            if one.collective == ALL_REDUCE and one.bucket and one.times_ns:
                longest[one.bytes] = max(longest.get(one.bytes, 0.0), statistics.fmean(one.times_ns) / 1e6)
    done = evidence.ranks[0].links_done
    buckets = () if done is None else done.buckets
    return [(size, longest[size]) for size in buckets] if set(buckets) <= set(longest) else []


def ready_shares(layers: Sequence[Layer], sizes: Sequence[int]) -> list[float]:
    """Return the share of the backward pass after which each bucket, of so many bytes, has its gradients.

    The last layers of the model have theirs first.
    """
    trained = [one for one in reversed(layers) if one.kind != "SGD" and one.backward_ms]
    whole_ms, whole = sum(one.backward_ms for one in trained), sum(one.gradient_bytes for one in trained)
    shares: list[float] = []
    spent_ms = gradients = 0.0
    for one in trained:
        spent_ms, gradients = spent_ms + one.backward_ms, gradients + one.gradient_bytes
        while len(shares) < len(sizes) and gradients >= whole * sum(sizes[: len(shares) + 1]) / sum(sizes):
            shares.append(spent_ms / whole_ms)
    return shares + [1.0] * (len(sizes) - len(shares))


def exposed_ms(buckets: Sequence[tuple[int, float]], shares: Sequence[float], after_forward_ms: float) -> float:
    """Return how much longer a step is by the exchange of gradients that its backward pass does not hide.

    `buckets` are bytes and ms of the exchanges in their order, each of which begins after the one before it and after
    its share of the backward pass. `after_forward_ms` is that pass with what is not hidden.

    >>> exposed_ms([(8, 1.0), (8, 1.0)], [0.5, 1.0], 11.0)
    1.0
    """

    def ended(backward: float) -> float:
        at = 0.0
        for (_, ms), share in zip(buckets, shares):
            at = max(at, backward * share) + ms
        return max(at, backward)

    low, high = 0.0, after_forward_ms  # of the backward pass alone: what is not hidden is in the measured time
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if ended(middle) < after_forward_ms else (low, middle)
    return after_forward_ms - high


def judge_explained(evidence: Evidence, cell: Cell) -> ProbeAnswer | None:
    """Return the explanation in words; recorded, never a fail. None if the run was not asked or trained nothing."""
    found = explain(evidence, cell)
    if found is None:
        return None
    where = place_of(found.rank, dict(evidence.starts)) if len(evidence.ranks) > 1 else ""
    reason = f"{where}{': ' if where else ''}{in_words(found)}"
    return ProbeAnswer("explained", Verdict.RECORDED, reason, 0.0, 1)


def in_words(found: Explanation) -> str:
    """Return the parts of a step as shares, and the largest loss with its reason."""
    shares = ", ".join(f"{part} {ms / found.step_ms:.0%}" for part, ms in found.parts_ms.items())
    notes = "".join(f"; {note}" for note in found.notes)
    return f"a step takes {found.step_ms:.1f} ms: {shares}; {_loss(found)}: {_why(found)}{notes}"


def _loss(found: Explanation) -> str:
    culprit = found.culprit
    if not culprit:
        return f"the parts add up to {sum(found.parts_ms.values()):.1f} ms, which explains nothing"
    return f"most is lost in {culprit}, {found.lost_ms[culprit] / found.step_ms:.0%}"


def _why(found: Explanation) -> str:
    by_loss = sorted(found.layers, key=lambda one: -one.below_ms)
    return {
        "": "the step is faster than the rates that the probes measured",
        COMPUTE: f"matrix products reach {found.gemm_tflops:.4g} TFLOPS, below the specification",
        CONVOLUTIONS: f"convolutions are slower than matrix products, most of all {by_loss[0].name}" if by_loss else "",
        MEMORY: f"layers are bound by memory of {found.memory_gb_per_s:.4g} GB/s",
        EXCHANGE: "the backward pass does not hide the exchange of gradients",
        LAUNCH: f"the host takes {found.host_ms:.1f} ms to queue a step, and the device waits for it",
        REST: "no measured peak explains it, as small or unfused kernels",
    }[found.culprit]


def explained_line(evidence: Evidence, cell: Cell) -> ProbeVerdict | None:
    """Return the explanation of p_core in one line; None where there is none."""
    found = explain(evidence, cell)
    if found is None:
        return None
    text = f"compute {found.parts_ms[COMPUTE] / found.step_ms:.0%}; {_loss(found)}"
    return ProbeVerdict(text, "-", Verdict.RECORDED, in_words(found))
