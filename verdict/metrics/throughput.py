"""Rates, and the single steps behind them: images of all ranks over a time of the slowest rank.

Images of steps that a GradScaler skipped do not count: they changed no weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Mapping, Optional, Sequence

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence, Windows
from evidence.run_file import BY_STEPS, TRAINING
from verdict.metrics.measurement import Measurement, metric
from verdict.metrics.statistics import (
    BETWEEN_RUNS,
    CONFIDENCE,
    MIN_SAMPLES,
    MIN_STEPS,
    bootstrapped,
    rate_per_s,
    sample_starts,
    total,
    with_between_runs,
)
from verdict.wording import counted

if TYPE_CHECKING:
    import numpy as np

RATES = ("p_whole", "p_train", "p_core", "p_core_host")
"""The metrics that have a confidence interval, unless there are too few steps."""

STEADY_MIN_STEPS = 100
"""Under steady, fewer measured steps cannot show that the device was in a steady state, and have no interval."""

DECISIVE_STEPS = 5_000
"""Under steady, on a real device, fewer measured steps over all ranks are not held against a published number.

A stall that every thousandth step has is missed in 1 of 150 runs of this length, and in four of five of 200 steps."""

BY_WINDOW = "synchronised_windows"
"""The timing of which only a window's sum is exact; a step's time is a share of it."""


@dataclass(frozen=True, eq=False)
class TrainedRank:
    """A rank that completed training: `windows` without warm-up, times in ns."""

    rank: int
    file: str
    windows: Windows
    wall_ns: int
    evaluation_ns: int
    timing: str

    @property
    def compute_ns(self) -> float:
        """The time that p_core divides by: compute time over the measured windows."""
        return total(self.windows.compute_ns)


@dataclass(frozen=True, eq=False)
class RateSamples:
    """The samples behind a rate: images and time in ns of each, in the order in which the steps ran."""

    images: np.ndarray
    time_ns: np.ndarray

    @property
    def rate(self) -> float | None:
        """Images per second over all samples."""
        return rate_per_s(total(self.images), total(self.time_ns))


@dataclass(frozen=True, eq=False)
class StepTimes:
    """The compute time of each measured step of one rank, in the order in which the steps ran.

    `compute_ns` is int64, one entry a step, as the trainer recorded it; `timing` says how it was read.
    `images_per_step` counts the images of all ranks: divided by the mean time of a step it is p_core. `cards` and
    `hosts` are the names that the ranks of the run found, each once.
    """

    run_id: str
    rank: int
    timing: str
    compute_ns: np.ndarray
    images_per_step: float
    cards: tuple[str, ...]
    hosts: tuple[str, ...]

    def seconds(self) -> list[float]:
        """The times in s; round(second * 1e9) is the recorded number of ns, for times below 2**51 ns (26 days)."""
        times: list[float] = (self.compute_ns / 1e9).tolist()
        return times


@metric("p_whole", "full", "epoch", "smoke", of="run")
def p_whole(evidence: Evidence) -> Measurement | None:
    """Images over the whole training, evaluations included."""
    return _measured("p_whole", evidence)


@metric("p_train", *TRAINING)
def p_train(evidence: Evidence) -> Measurement | None:
    """Images over the training less its evaluations."""
    return _measured("p_train", evidence)


@metric("p_core", *TRAINING)
def p_core(evidence: Evidence) -> Measurement | None:
    """Images over compute time synchronised with the device: forward, backward, optimizer; no data wait, no copy."""
    return _measured("p_core", evidence)


@metric("p_core_host", *TRAINING)
def p_core_host(evidence: Evidence) -> Measurement | None:
    """The region of p_core by the host's clock alone, to compare with numbers that were measured so."""
    return _measured("p_core_host", evidence)


def rate_samples(name: str, evidence: Evidence) -> RateSamples | None:
    """The samples of the slowest rank that the interval of one of RATES comes from; None if it has no interval.

    The images are scaled so that all of them over all of the time are the rate itself.
    """
    _, value, samples = _rate(name, evidence) or (None, 0.0, None)
    if samples is None or not samples.rate:
        return None
    return RateSamples(samples.images * (value / samples.rate), samples.time_ns)


def step_times(evidence: Evidence) -> StepTimes | None:
    """The steps of the rank that p_core is computed from; None if a rank is missing or no step was measured."""
    ranks = trained_ranks(evidence)
    if evidence.run is None or not ranks:
        return None
    slowest = _slowest(ranks, lambda rank: rank.compute_ns)
    steps = slowest.windows.steps
    if not steps:
        return None
    return StepTimes(
        run_id=evidence.run.id,
        rank=slowest.rank,
        timing=slowest.timing,
        compute_ns=slowest.windows.compute_ns,
        images_per_step=sum(total(rank.windows.trained) for rank in ranks) / steps,
        cards=tuple(sorted({start.device_name for _, start in evidence.starts})),
        hosts=tuple(sorted({start.host for _, start in evidence.starts})),
    )


def by_window(rank: RankEvidence) -> bool:
    """Whether only the sums of a rank's windows are known."""
    return rank.start is not None and rank.start.timing == BY_WINDOW


def window_sums(windows: Windows, steps: np.ndarray) -> np.ndarray:
    """The sum of a column with an entry a step over each window, of which there is at least one."""
    import numpy as np

    return np.add.reduceat(steps, np.cumsum(windows.size) - windows.size)


def trained_ranks(evidence: Evidence) -> list[TrainedRank]:
    """All ranks if all of them completed training, else none: a part of the ranks has no rate."""
    trained = []
    for rank in evidence.ranks:
        begin_ns, end = rank.train_begin_ns, rank.train_end
        if rank.start is None or begin_ns is None or end is None:
            return []
        wall_ns, evaluation_ns = end.t_ns - begin_ns, end.ledger["evaluation_ns"]
        trained.append(
            TrainedRank(rank.rank, rank.file, rank.windows.measured, wall_ns, evaluation_ns, rank.start.timing)
        )
    return trained


def _slowest(ranks: Sequence[TrainedRank], time_ns: Callable[[TrainedRank], float]) -> TrainedRank:
    """The rank that the others wait for; of equals, the first."""
    return max(ranks, key=lambda rank: (time_ns(rank), -rank.rank))


def _rate(name: str, evidence: Evidence) -> tuple[TrainedRank, float, RateSamples | None] | None:
    """(slowest rank, images of all ranks over its time, its samples); no samples if there are too few steps."""
    ranks = trained_ranks(evidence)
    if not ranks:
        return None
    _, time_ns, samples_of = _PARTS[name]
    slowest = _slowest(ranks, time_ns)
    value = rate_per_s(sum(total(rank.windows.trained) for rank in ranks), time_ns(slowest))
    if value is None:
        return None
    enough = slowest.windows.steps >= _least_steps(evidence, slowest)
    return slowest, value, samples_of(slowest.windows) if enough else None


def _least_steps(evidence: Evidence, rank: TrainedRank) -> int:
    steady = evidence.run is not None and evidence.run.protocol in BY_STEPS
    least = STEADY_MIN_STEPS if steady else MIN_STEPS
    if rank.timing == BY_WINDOW:  # its steps cannot be cut into samples of another size
        return max(least, MIN_SAMPLES * int(rank.windows.size.max()))
    return least


def _decisive_steps(evidence: Evidence) -> int:
    """The steps of each rank from which on a rate is held against a published number.

    An epoch is what the published numbers are of, and a simulated device does what its scenario says.
    """
    if evidence.simulated or evidence.run is None or evidence.run.protocol != "steady":
        return 0
    return -(-DECISIVE_STEPS // max(1, len(evidence.ranks)))


def _measured(name: str, evidence: Evidence) -> Measurement | None:
    rate = _rate(name, evidence)
    if rate is None:
        return None
    slowest, value, samples = rate
    steps, spread = slowest.windows.steps, 0.0 if evidence.simulated else BETWEEN_RUNS
    within = interval = found = None
    method = (
        f"images of {counted(len(evidence.ranks), 'rank')} / {_PARTS[name][0].format(timing=slowest.timing)} of the "
        f"slowest, rank {slowest.rank}"
    )
    if samples is not None:
        found = bootstrapped(samples.images, samples.time_ns)
    if found is not None and samples is not None:
        # The bootstrap gives the interval's width; it is recentred on the rate as defined.
        within = found.interval.scaled(value / samples.rate if samples.rate else 1.0).around(value)
        interval = with_between_runs(within, value, spread) if spread else within
        method += f"; {CONFIDENCE:.0%} interval by block bootstrap over {steps} steps"
        method += f" and {spread:.0%} between runs, assumed" if spread else ""
    return Measurement(
        name,
        value,
        "images/s",
        interval,
        method,
        slowest.file,
        steps,
        least=_least_steps(evidence, slowest),
        within=within,
        between=spread,
        independent=math.inf if found is None else found.independent,
        decisive=_decisive_steps(evidence),
    )


def _step_samples(windows: Windows, time_ns: np.ndarray) -> RateSamples | None:
    """The samples of a time that is known by step; None if there are too few steps."""
    import numpy as np  # here, so that collecting tests does not pay for it

    starts = sample_starts(windows.size)
    if starts is None:
        return None
    return RateSamples(np.add.reduceat(windows.trained, starts), np.add.reduceat(time_ns, starts))


def _window_samples(windows: Windows, time_ns: np.ndarray) -> RateSamples | None:
    """The samples of a time that is known by window only.

    If windows are few, a step gets what its own compute took and an equal share of the rest of its window.
    """
    import numpy as np  # here, so that collecting tests does not pay for it

    if len(windows.size) >= MIN_SAMPLES:
        samples = _step_samples(windows, windows.compute_ns)
        return None if samples is None else RateSamples(samples.images, time_ns)
    if not windows.steps:
        return None
    starts = np.cumsum(windows.size) - windows.size
    rest_ns = (time_ns - np.add.reduceat(windows.compute_ns, starts)) / windows.size
    return _step_samples(windows, windows.compute_ns + rest_ns.repeat(windows.size))


_SamplesOf = Callable[[Windows], Optional[RateSamples]]
_PARTS: Mapping[str, tuple[str, Callable[[TrainedRank], float], _SamplesOf]] = {
    "p_whole": (
        "time from train begin to train end, evaluations included,",
        lambda rank: rank.wall_ns,
        lambda windows: _window_samples(windows, windows.wall_ns),
    ),
    "p_train": (
        "time from train begin to train end less the evaluations",
        lambda rank: rank.wall_ns - rank.evaluation_ns,
        lambda windows: _window_samples(windows, windows.wall_ns),
    ),
    "p_core": (
        "compute time, in step with the device ({timing}),",
        lambda rank: rank.compute_ns,
        lambda windows: _step_samples(windows, windows.compute_ns),
    ),
    "p_core_host": (
        "compute time by the host's clock, the device not waited for (p_core_host),",
        lambda rank: total(rank.windows.compute_host_ns),
        lambda windows: _window_samples(windows, windows.compute_host_ns),
    ),
}
"""By rate: its definition in words, the time of a rank that it divides by, and the samples of its scatter."""
