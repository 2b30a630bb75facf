"""Memory of the devices in training: the peak, whether samples cover it, and what the workload needs at the least."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Mapping

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.events.setup import HOST_BACKENDS
from evidence.run_file import TRAINING
from evidence.telemetry import DeviceKey, DeviceSamples
from expected import METRICS
from verdict.metrics.measurement import Measurement, metric

LARGEST_GAP = 0.1
"""Share of the training that may pass between two samples."""
SHORT_GAPS_S = (5.0, 30.0)
"""Always allowed: a third of a short training, but no less than the first and no more than the second."""
RISING = 0.02
"""Share of itself by which memory may still grow over the second half of the training."""
BELOW_ALLOCATOR = 0.05
"""Share by which the SMI's peak may lie below what the allocator had given out at its peak.

As much as the default bound of mem allows. The larger of the two counts, so that a smaller difference (rounding, a peak
between two samples) changes no verdict; with a larger one, the tool watches another device or counts in another unit.
"""

_UNABATED = 0.75
_LEAST_SAMPLES = 8  # in training; with fewer a rise looks like a step
_FLOAT_BYTES = 4  # weights, gradients, momentum and images are fp32 at every precision: autocast casts copies
_CHANNELS = 3
_GIB = float(2**30)


@dataclass(frozen=True)
class DeviceMemory:
    """The peaks of one device in GiB, None if nothing was read.

    `sampled` is the largest sample, `allocated` and `reserved` the device allocator's peaks summed over the device's
    ranks, `resident` the largest resident memory of a rank's process (on the host's own backend only). `capacity` is
    the largest total that was reported.
    """

    card: DeviceKey
    ranks: tuple[int, ...]
    samples: int
    sources: tuple[str, ...]
    sampled: float | None
    allocated: float | None
    reserved: float | None
    resident: float | None
    capacity: float | None

    @property
    def peak(self) -> float | None:
        """Memory in use at its highest, including what the allocator reserved between samples; None without samples."""
        if self.sampled is None:
            return None
        return max(self.sampled, self.reserved or 0.0, self.resident or 0.0)

    @property
    def is_between_samples(self) -> bool:
        """Whether the allocator had more in reserve than any sample shows in use."""
        return self.sampled is not None and self.reserved is not None and self.reserved > self.sampled

    @property
    def has_second_source(self) -> bool:
        """Whether anything but the one tool's samples says how much was in use."""
        return len(self.sources) > 1 or any(one is not None for one in (self.allocated, self.reserved, self.resident))

    def __str__(self) -> str:
        return f"device {self.card[1]} of {self.card[0]}"


@dataclass(frozen=True)
class LeastMemory:
    """What training cannot do without on a device, in GiB: `parts` by name.

    Weights, gradients and momentum by the counts of parameters that the rank recorded, and the images of a batch at
    their padded size. Activations come on top.
    """

    parts: Mapping[str, float]

    @property
    def gib(self) -> float:
        """The sum."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        return f"{self.gib:.3f} GiB ({', '.join(f'{name} {part:.3f}' for name, part in self.parts.items())})"


@metric("mem", *TRAINING)
def mem(evidence: Evidence) -> Measurement | None:
    """Peak memory in use on any device of the run, in GiB; None unless every device has samples."""
    devices = device_memories(evidence)
    peaks = [device.peak for device in devices if device.peak is not None]
    if not devices or len(peaks) < len(devices):
        return None
    value = max(peaks)
    highest = devices[peaks.index(value)]
    parts = [f"sampled by {', '.join(highest.sources)} {highest.sampled:.2f} GiB"]
    for name, peak in (
        ("allocator's peak, allocated", highest.allocated),
        ("allocator's peak, reserved", highest.reserved),
        ("resident in the rank's process", highest.resident),
    ):
        if peak is not None:
            parts.append(f"{name} {peak:.2f} GiB")
    if highest.is_between_samples:
        parts.append("the allocator's counts, as its peak lay between two samples")
    errors, rising = evidence.telemetry.errors, still_rising(evidence)
    if errors:
        parts.append(f"samplers reported {len(errors)} errors, first {errors[0]}")
    method = f"highest of {len(devices)} devices, {highest}: {'; '.join(parts)}"
    samples = sum(device.samples for device in devices)
    doubt = f"memory was still rising at the end, so its peak is not known: {'; '.join(rising)}" if rising else ""
    alone = (
        f"read by {', '.join(highest.sources)} alone, with no second source: a peak between two samples is not in it"
    )
    note = "" if highest.has_second_source else alone
    unit = METRICS["mem"].unit
    return Measurement("mem", value, unit, None, method, "telemetry.jsonl", samples, doubt=doubt, note=note)


def device_memories(evidence: Evidence) -> tuple[DeviceMemory, ...]:
    """The devices that the run's ranks used, in the order of their first rank."""
    users: dict[DeviceKey, list[RankEvidence]] = {}
    for rank in evidence.ranks:
        if rank.start is not None:
            users.setdefault((rank.start.host, rank.start.card), []).append(rank)
    return tuple(_device_memory(evidence, card, ranks) for card, ranks in users.items())


def unwatched(evidence: Evidence) -> tuple[str, ...]:
    """What is missing for the samples to prove the peak, device by device; empty when nothing is.

    Every device of the run needs a sample after training began, and no gap between samples in the training, by the
    clock of the rank that took them, may be longer than LARGEST_GAP of it.
    """
    ranks = {rank.rank: rank for rank in evidence.ranks}
    missing = []
    for memory in device_memories(evidence):
        found = _samples_of(evidence, memory.card)
        faults = [_gap(samples, ranks.get(samples.rank)) for samples in found]
        if not found:
            why = f" ({evidence.telemetry.errors[0]})" if evidence.telemetry.errors else ""
            missing.append(f"{memory}: found no memory sample in telemetry.jsonl{why}, expected some in training")
        elif all(faults):
            missing.append(f"{memory}: {faults[0]}")
    return tuple(missing)


def least_memory(evidence: Evidence, rank: RankEvidence) -> LeastMemory | None:
    """What the rank's training needs on its device at the least; None if it recorded no model or took no step.

    Of runs whose evidence has no count of trained parameters, weights and images only.
    """
    model, windows = rank.model, rank.windows
    if model is None or evidence.run is None or not windows.steps:
        return None
    counts = {"weights": model.parameters}
    if model.trained is not None:
        counts["gradients"] = model.trained
        counts["momentum"] = model.trained if evidence.run.recipe.get("momentum") else 0
    counts["a batch"] = int(float((windows.padded_pixels / windows.size).max()) * _CHANNELS)
    return LeastMemory({name: count * _FLOAT_BYTES / _GIB for name, count in counts.items()})


def disagreeing(evidence: Evidence) -> tuple[str, ...]:
    """The devices of which a tool that watched all of the training saw less memory than the allocator had given out."""
    ranks = {rank.rank: rank for rank in evidence.ranks}
    found = []
    for memory in device_memories(evidence):
        least = (memory.allocated or 0.0) * (1 - BELOW_ALLOCATOR)
        for samples in _samples_of(evidence, memory.card):
            sampled = float(samples.used_gib.max())
            if sampled < least and not _gap(samples, ranks.get(samples.rank)):
                found.append(
                    f"{memory}: {', '.join(samples.sources)} read {sampled:.2f} GiB at most, and the allocator had "
                    f"given out {memory.allocated:.2f} GiB at its peak, expected at least {least:.2f} GiB: the tool "
                    "watches another device, or counts in another unit"
                )
    return tuple(found)


def still_rising(evidence: Evidence) -> tuple[str, ...]:
    """The devices whose memory grew to the very end of the training, so that the peak of a longer run is not known.

    The samples are cut into four equal parts of the training. Memory rises where the median grows from the second
    part to the third and on to the fourth by more than half of RISING each, and from the second to the fourth by three
    quarters at least of what it grew from the first to the third. What an allocator keeps is its highest peak so far,
    which grows too, but ever slower.
    """
    ranks = {rank.rank: rank for rank in evidence.ranks}
    found = []
    for memory in device_memories(evidence):
        for samples in _samples_of(evidence, memory.card):
            medians = _quarter_medians(samples, ranks.get(samples.rank))
            grown = [later - earlier for earlier, later in zip(medians, medians[1:])]
            goes_on = sum(grown[1:]) >= _UNABATED * sum(grown[:2])
            if medians and grown[0] > 0 and min(grown[1:]) > RISING / 2 * medians[1] and goes_on:
                shown = ", ".join(f"{median:.2f}" for median in medians)
                found.append(f"{memory}: {shown} GiB in four parts of the training")
    return tuple(found)


def training_ns(watcher: RankEvidence | None) -> tuple[float, float]:
    """Begin and end of training by the clock of the rank that took the samples; -inf and inf if it has no events."""
    if watcher is None or watcher.train_begin_ns is None or watcher.train_end is None:
        return -math.inf, math.inf
    return watcher.train_begin_ns, watcher.train_end.t_ns


def _quarter_medians(samples: DeviceSamples, watcher: RankEvidence | None) -> list[float]:
    """The median of each quarter of the training in GiB; empty if there are too few samples."""
    import numpy as np

    begin_ns, end_ns = training_ns(watcher)
    if not end_ns < math.inf:
        return []
    inside = (samples.t_ns >= begin_ns) & (samples.t_ns < end_ns)
    quarter = ((samples.t_ns[inside] - begin_ns) * 4 // (end_ns - begin_ns)).astype(int)
    parts = [samples.used_gib[inside][quarter == number] for number in range(4)]
    if inside.sum() < _LEAST_SAMPLES or not all(len(part) for part in parts):
        return []
    return [float(np.median(part)) for part in parts]


def _device_memory(evidence: Evidence, card: DeviceKey, ranks: list[RankEvidence]) -> DeviceMemory:
    found = _samples_of(evidence, card)
    starts = [rank.start for rank in ranks if rank.start is not None]
    resident = [
        memory.resident_gib
        for rank, start in zip(ranks, starts)
        for memory in rank.memories
        if start.backend in HOST_BACKENDS and memory.resident_gib is not None
    ]
    totals = [samples.total_gib for samples in found] + [start.capacity_gib for start in starts]
    return DeviceMemory(
        card=card,
        ranks=tuple(rank.rank for rank in ranks),
        samples=sum(len(samples.t_ns) for samples in found),
        sources=tuple(sorted({source for samples in found for source in samples.sources})),
        sampled=max((float(samples.used_gib.max()) for samples in found), default=None),
        allocated=_summed(ranks, "allocated_gib"),
        reserved=_summed(ranks, "reserved_gib"),
        resident=max(resident, default=None),
        capacity=max((total for total in totals if total is not None), default=None),
    )


def _samples_of(evidence: Evidence, card: DeviceKey) -> list[DeviceSamples]:
    """The samples of a device that have its memory; those without are left out."""
    import numpy as np

    found = []
    for samples in evidence.telemetry.cards:
        known = ~np.isnan(samples.used_gib) if samples.card == card else np.zeros(0, dtype=bool)
        if known.all() and len(known):
            found.append(samples)
        elif known.any():
            found.append(replace(samples, t_ns=samples.t_ns[known], used_gib=samples.used_gib[known], readings={}))
    return found


def _summed(ranks: list[RankEvidence], name: str) -> float | None:
    peaks = [max((getattr(memory, name) or 0.0 for memory in rank.memories), default=0.0) for rank in ranks]
    return sum(peaks) or None


def _gap(samples: DeviceSamples, watcher: RankEvidence | None) -> str:
    """What is wrong with the samples that `watcher` took of a device; "" when nothing is."""
    import numpy as np

    if watcher is None or watcher.train_begin_ns is None or watcher.train_end is None:
        return f"its samples were taken by rank {samples.rank}, expected a rank that reported train_begin and train_end"
    begin, end = watcher.train_begin_ns, watcher.train_end.t_ns
    if samples.t_ns.max() < begin:
        return "found no memory sample after train_begin, expected some in training"
    inside = np.sort(samples.t_ns[(samples.t_ns > begin) & (samples.t_ns < end)])
    gap_s = float(np.diff(np.concatenate(([begin], inside, [end]))).max()) / 1e9
    train_s = (end - begin) / 1e9
    allowed_s = max(LARGEST_GAP * train_s, min(max(train_s / 3, SHORT_GAPS_S[0]), SHORT_GAPS_S[1]))
    if gap_s > allowed_s:
        return (
            f"{gap_s:.0f} s of the training passed without a memory sample, expected at most {allowed_s:.0f} s; "
            "a peak may have been missed"
        )
    return ""
