"""The four rates: images of all ranks over a time of the slowest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.events import RankEvidence, TrainEnd, Windows
from verdict.metrics.measurement import Measurement
from verdict.metrics.statistics import CONFIDENCE, MIN_BLOCKS, MIN_STEPS, block_starts, rate_interval, rate_per_s, total

if TYPE_CHECKING:
    import numpy as np

RATES = ("p_whole", "p_train", "p_core", "p_core_host")
"""The metrics that have a confidence interval, unless there are too few steps to tell."""

STEADY_MIN_STEPS = 100
"""Under steady, fewer measured steps cannot show that the device was in a steady state, and have no interval."""


@dataclass(frozen=True, eq=False)
class TrainedRank:
    """A rank that came through training: `windows` without warm-up, times in ns."""

    rank: int
    file: str
    windows: Windows
    wall_ns: int
    evaluation_ns: int
    timing: str


def trained_ranks(evidence: Evidence) -> list[TrainedRank]:
    """All ranks, or none: of a part of the ranks no rate can be told."""
    trained = []
    for rank in evidence.ranks:
        if rank.start is None or rank.train_begin_ns is None or rank.train_end is None:
            return []
        trained.append(_trained_rank(rank, rank.train_begin_ns, rank.train_end, rank.start.timing))
    return trained


def _trained_rank(rank: RankEvidence, begin_ns: int, end: TrainEnd, timing: str) -> TrainedRank:
    wall_ns, evaluation_ns = end.t_ns - begin_ns, end.ledger["evaluation_ns"]
    return TrainedRank(rank.rank, rank.file, rank.windows.measured, wall_ns, evaluation_ns, timing)


def slowest_rank(ranks: Sequence[TrainedRank], time_ns: Callable[[TrainedRank], float]) -> TrainedRank:
    """The rank that the others wait for; of equals, the first."""
    return max(ranks, key=lambda rank: (time_ns(rank), -rank.rank))


def compute_ns(rank: TrainedRank) -> float:
    """What p_core divides by: the rank's compute time over the measured windows, in ns."""
    return total(rank.windows.compute_ns)


@dataclass(frozen=True, eq=False)
class _Rate:
    """A rate in images/s and what it is from; `blocks` is None where there are too few steps to tell its scatter."""

    ranks: int
    slowest: TrainedRank
    value: float
    least: int
    blocks: tuple[np.ndarray, np.ndarray] | None


def _rate(metric: str, evidence: Evidence) -> _Rate | None:
    """Images of all ranks over the time of the slowest, with that rank's blocks of steps."""
    ranks = trained_ranks(evidence)
    if not ranks:
        return None
    time_ns, blocks_of = _PARTS[metric]
    slowest = slowest_rank(ranks, time_ns)
    value = rate_per_s(sum(total(rank.windows.images) for rank in ranks), time_ns(slowest))
    if value is None:
        return None
    least = STEADY_MIN_STEPS if evidence.run is not None and evidence.run.protocol == "steady" else MIN_STEPS
    blocks = blocks_of(slowest.windows) if slowest.windows.steps >= least else None
    return _Rate(len(ranks), slowest, value, least, blocks)


def _throughput(metric: str, evidence: Evidence, definition: str) -> Measurement | None:
    rate = _rate(metric, evidence)
    if rate is None:
        return None
    interval, slowest, value = None, rate.slowest, rate.value
    if rate.blocks is not None:
        interval = rate_interval(*rate.blocks)
        around = rate_per_s(total(rate.blocks[0]), total(rate.blocks[1]))
        if interval is not None and around:
            # The blocks tell how the rate scatters; where it lies, only the definition tells.
            interval = interval.scaled(value / around).around(value)
    steps = slowest.windows.steps
    method = (
        f"images of {rate.ranks} ranks / {definition.format(timing=slowest.timing)} of the slowest, rank {slowest.rank}"
    )
    if interval is not None:
        method += f"; {CONFIDENCE:.0%} interval by block bootstrap over {steps} steps"
    return Measurement(metric, value, "images/s", interval, method, slowest.file, steps, rate.least)


def _step_blocks(windows: Windows, time_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    import numpy as np  # here, so that collecting tests does not pay for it

    starts = block_starts(windows.size)
    if starts is None:
        return None
    return np.add.reduceat(windows.images, starts), np.add.reduceat(time_ns, starts)


def _window_blocks(windows: Windows, time_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Blocks of a time that is known by window only.

    Where windows are few, a step gets what its own compute took and an equal share of the rest of its window.
    """
    import numpy as np  # here, so that collecting tests does not pay for it

    if len(windows.size) >= MIN_BLOCKS:
        blocks = _step_blocks(windows, windows.compute_ns)
        return None if blocks is None else (blocks[0], time_ns)
    if not windows.steps:
        return None
    starts = np.cumsum(windows.size) - windows.size
    rest_ns = (time_ns - np.add.reduceat(windows.compute_ns, starts)) / windows.size
    return _step_blocks(windows, windows.compute_ns + rest_ns.repeat(windows.size))


def _wall_blocks(windows: Windows) -> tuple[np.ndarray, np.ndarray] | None:
    return _window_blocks(windows, windows.wall_ns)


def p_whole(evidence: Evidence) -> Measurement | None:
    """Images over the whole training, evaluations included."""
    return _throughput("p_whole", evidence, "time from train begin to train end, evaluations included,")


def p_train(evidence: Evidence) -> Measurement | None:
    """Images over the training less its evaluations."""
    return _throughput("p_train", evidence, "time from train begin to train end less the evaluations")


def p_core(evidence: Evidence) -> Measurement | None:
    """Images over compute time in step with the device: forward, backward, optimizer; no data wait, no copy."""
    return _throughput("p_core", evidence, "compute time, in step with the device ({timing}),")


def p_core_host(evidence: Evidence) -> Measurement | None:
    """The region of p_core by the host's clock alone, only to hold against numbers that were read so."""
    definition = "compute time by the host's clock, the device not waited for (p_core_host),"
    return _throughput("p_core_host", evidence, definition)


def rate_blocks(metric: str, evidence: Evidence) -> tuple[np.ndarray, np.ndarray] | None:
    """Images and time in ns of each block of steps, in their order, that the interval of one of RATES comes from.

    Of the slowest rank; the images are scaled so that all of them over all of the time are the rate itself. None where
    the rate has no interval.
    """
    rate = _rate(metric, evidence)
    if rate is None or rate.blocks is None:
        return None
    images, time_ns = rate.blocks
    around = rate_per_s(total(images), total(time_ns))
    return None if not around else (images * (rate.value / around), time_ns)


_PARTS: Mapping[
    str, tuple[Callable[[TrainedRank], float], Callable[[Windows], tuple[np.ndarray, np.ndarray] | None]]
] = {
    "p_whole": (lambda rank: rank.wall_ns, _wall_blocks),
    "p_train": (lambda rank: rank.wall_ns - rank.evaluation_ns, _wall_blocks),
    "p_core": (compute_ns, lambda windows: _step_blocks(windows, windows.compute_ns)),
    "p_core_host": (
        lambda rank: total(rank.windows.compute_host_ns),
        lambda windows: _window_blocks(windows, windows.compute_host_ns),
    ),
}
"""By rate: the time of a rank that it divides by, and the blocks of steps that tell how it scatters."""
