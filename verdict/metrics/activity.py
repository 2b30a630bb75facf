"""Whether devices were at work in training, by the use and power that a tool read, and whether they were throttled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from verdict.metrics.memory import device_memories, training_ns
from verdict.wording import counted

if TYPE_CHECKING:
    import numpy as np

THROTTLED_SHARE = 0.01
"""Share of the training in which a device may be throttled; more makes the run invalid, less is a note."""
LEAST_USE = 0.1
"""Least mean use of a device in training, as a share of the time that its ranks computed.

A tool's use is the share of the time in which any kernel ran: most of the compute of a device that keeps up, and far
more than a tenth of it even where steps are bound by their launches. An idle device shows 0 %, or little more.
"""
LEAST_RISE = 0.05
"""Share by which a device's mean power in training has to exceed its lowest before."""
_LEAST_AT_WORK = 5  # samples in training; fewer may all have come between two steps


def idle(evidence: Evidence) -> tuple[str, ...]:
    """The devices whose use or power, where a tool read it, shows no work in training.

    The mean use has to be at least LEAST_USE of the share of the training in which the device's ranks computed, and
    the mean power above the lowest reading before training by LEAST_RISE. A power that is the same in all samples is
    one that the tool cannot read (a fixed or missing sensor), and is no evidence.
    """
    ranks = {rank.rank: rank for rank in evidence.ranks}
    found = []
    for memory in device_memories(evidence):
        computed = max(_computed(ranks[rank]) for rank in memory.ranks)
        for samples in (one for one in evidence.telemetry.cards if one.card == memory.card):
            who = f"{memory}: {', '.join(samples.sources)}"
            begin_ns, end_ns = training_ns(ranks.get(samples.rank))
            inside = (samples.t_ns >= begin_ns) & (samples.t_ns <= end_ns)
            use = _mean(samples.readings.get("use_percent"), inside)
            if use is not None and use < 100 * LEAST_USE * computed:
                found.append(
                    f"{who} read a use of {use:.1f} % on average in training, of which {computed:.0%} was compute, "
                    f"expected at least {100 * LEAST_USE * computed:.1f} %: this is not the device that trained"
                )
            power = _mean(samples.readings.get("power_w"), inside)
            rest = _lowest(samples.readings.get("power_w"), samples.t_ns < begin_ns)
            is_fixed = len(set(_known(samples.readings.get("power_w"), samples.t_ns == samples.t_ns))) < 2
            if power is not None and rest is not None and not is_fixed and power <= rest * (1 + LEAST_RISE):
                found.append(
                    f"{who} read {power:.1f} W on average in training and {rest:.1f} W before, expected more than "
                    f"{LEAST_RISE:.0%} above it: this is not the device that trained"
                )
    return tuple(found)


@dataclass(frozen=True)
class Throttled:
    """A device that was throttled in training: the reasons reported, and the share of the training's time."""

    device: str
    reasons: tuple[str, ...]
    samples: int
    share: float

    def __str__(self) -> str:
        count = counted(self.samples, "sample")
        return f"{self.device}: throttled ({', '.join(self.reasons)}) in {count}, {self.share:.2%} of the training"


def throttled(evidence: Evidence) -> tuple[Throttled, ...]:
    """The devices whose telemetry reported throttling in training.

    A sample stands for the time that is nearer to it than to any other sample of its tool.
    """
    ranks = {rank.rank: rank for rank in evidence.ranks}
    found = []
    for memory in device_memories(evidence):
        for samples in (one for one in evidence.telemetry.cards if one.card == memory.card):
            begin_ns, end_ns = training_ns(ranks.get(samples.rank))
            slow = [(t_ns, reason) for t_ns, reason in samples.throttled if begin_ns <= t_ns <= end_ns]
            if slow:
                share = _share_of_time(samples.t_ns, {t_ns for t_ns, _ in slow}, begin_ns, end_ns)
                reasons = tuple(sorted({reason for _, reason in slow}))
                found.append(Throttled(str(memory), reasons, len(slow), share))
    return tuple(found)


def _computed(rank: RankEvidence) -> float:
    """The share of the rank's training that it computed in, by its own ledger; 0 if it did not get to its end."""
    if rank.train_begin_ns is None or rank.train_end is None or rank.train_end.t_ns <= rank.train_begin_ns:
        return 0.0
    return min(max(rank.train_end.ledger["compute_ns"] / (rank.train_end.t_ns - rank.train_begin_ns), 0.0), 1.0)


def _mean(readings: np.ndarray | None, chosen: np.ndarray) -> float | None:
    """The mean of the chosen readings; None for fewer than _LEAST_AT_WORK of them."""
    known = _known(readings, chosen)
    return None if len(known) < _LEAST_AT_WORK else float(sum(known) / len(known))


def _lowest(readings: np.ndarray | None, chosen: np.ndarray) -> float | None:
    return min(_known(readings, chosen), default=None)


def _known(readings: np.ndarray | None, chosen: np.ndarray) -> list[float]:
    return [] if readings is None else [float(one) for one in readings[chosen] if not math.isnan(one)]


def _share_of_time(t_ns: np.ndarray, chosen: set[int], begin_ns: float, end_ns: float) -> float:
    """The share of the time from begin to end that the chosen samples stand for; 1 where that is not known."""
    import numpy as np

    inside = np.unique(t_ns[(t_ns >= begin_ns) & (t_ns <= end_ns)])
    if not begin_ns < end_ns < math.inf:
        return 1.0
    borders = np.concatenate(([begin_ns], (inside[1:] + inside[:-1]) / 2, [end_ns]))
    return float(np.diff(borders)[np.isin(inside, list(chosen))].sum() / (end_ns - begin_ns))
