"""The single steps behind p_core: what the rank that decides it took for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evidence.bundle import Evidence
from verdict.metrics.statistics import total
from verdict.metrics.throughput import compute_ns, slowest_rank, trained_ranks

if TYPE_CHECKING:
    import numpy as np


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
        """The times in s: of each, the float nearest to its nanoseconds / 1e9.

        round(second * 1e9) gives the nanoseconds back, for times below 2**51 ns, which is 26 days.
        """
        times: list[float] = (self.compute_ns / 1e9).tolist()
        return times


def step_times(evidence: Evidence) -> StepTimes | None:
    """The steps of the rank that p_core is computed from; None where a rank is missing or no step was measured."""
    ranks = trained_ranks(evidence)
    if evidence.run is None or not ranks:
        return None
    slowest = slowest_rank(ranks, compute_ns)
    steps = slowest.windows.steps
    if not steps:
        return None
    return StepTimes(
        run_id=evidence.run.id,
        rank=slowest.rank,
        timing=slowest.timing,
        compute_ns=slowest.windows.compute_ns,
        images_per_step=sum(total(rank.windows.images) for rank in ranks) / steps,
        cards=tuple(sorted({start.device_name for _, start in evidence.starts})),
        hosts=tuple(sorted({start.host for _, start in evidence.starts})),
    )
