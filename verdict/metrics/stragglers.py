"""Which ranks are slower than their siblings, told by the part of a step in which no rank waits for another."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from evidence.bundle import Evidence
from verdict.metrics.statistics import total

TOLERANCE = 0.05
"""Share by which a rank's forward passes may take longer than its siblings' before it is named."""


@dataclass(frozen=True)
class Straggler:
    """A rank on its card, and the share by which its forward passes took longer than the median of the other ranks."""

    rank: int
    host: str
    card: int
    slower: float

    @property
    def place(self) -> str:
        """Which rank this is, and on which card of which host."""
        return f"rank {self.rank} (card {self.card} of {self.host})"

    def __str__(self) -> str:
        return f"{self.place} is {self.slower:.0%} slower than its siblings"


def stragglers(evidence: Evidence) -> tuple[Straggler, ...]:
    """The ranks that are slower than their siblings by more than the tolerance, the slowest first."""
    return tuple(one for one in paces(evidence) if one.slower > TOLERANCE)


def slowest_forward(evidence: Evidence) -> Straggler | None:
    """The rank whose forward passes took longest, slow or not; None where there are no siblings to tell by."""
    return next(iter(paces(evidence)), None)


def paces(evidence: Evidence) -> list[Straggler]:
    """All ranks that can be held against others, slow or not, the slowest first.

    Gradients are exchanged in the backward pass, where all ranks wait for the slowest and so take the same time: only
    the forward pass, an image, tells them apart.
    """
    took: dict[int, float] = {}
    for rank in evidence.ranks:
        windows = rank.windows.measured
        images = total(windows.images)
        if rank.start is not None and images > 0:
            took[rank.rank] = total(windows.forward_ns) / images
    found = []
    for number, start in evidence.starts:
        others = [time_ns for other, time_ns in took.items() if other != number]
        if number not in took or not others or statistics.median(others) <= 0:
            continue
        slower = took[number] / statistics.median(others) - 1
        found.append(Straggler(number, start.host, start.card, slower))
    return sorted(found, key=lambda one: -one.slower)
