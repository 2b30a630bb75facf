"""Repeats a piece of work on the device until its mean time is known to 1 %, or its budget is spent."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Callable

import torch

from trainer.devices import Backend

_WITHIN = 0.01
"""Half of the mean's confidence interval, relative, at which repeating ends."""
_LEAST_REPEATS, _MOST_REPEATS = 5, 40
_TWO_SIDED = 2.0
_MOST_UNITS = 10_000_000


@dataclass(frozen=True)
class Repeats:
    """`units` of the work in each of `times_ns`, and the result of the last one."""

    units: int
    times_ns: tuple[int, ...]
    result: torch.Tensor


def repeat(
    backend: Backend,
    of: str,
    amount: int,
    compute: Callable[[], torch.Tensor],
    *,
    region_s: float,
    budget_s: float,
    fills: bool = False,
) -> Repeats:
    """Time `compute`, of `amount` FLOPs or bytes, by the backend's step timer; a timed region takes about `region_s`.

    `of` is the kind of work (evidence/events/peaks.py). `fills`: repeat until the budget is spent, as for work that has
    to overlap with other ranks'.
    """
    timed = Timed(backend, of, amount, compute)
    timed.region_ns(1)  # the first call loads kernels, and chooses algorithms
    units = timed.units_of(region_s)
    begun_ns, times_ns = backend.clock.now_ns(), [timed.region_ns(units)]
    while len(times_ns) < _MOST_REPEATS:
        is_over = backend.clock.now_ns() - begun_ns >= budget_s * 1e9
        if is_over or (not fills and len(times_ns) >= _LEAST_REPEATS and _is_narrow(times_ns)):
            break
        times_ns.append(timed.region_ns(units))
    return Repeats(units, tuple(times_ns), timed.result)


class Timed:
    """A piece of work and its timer; `result` is what it gave last."""

    result: torch.Tensor

    def __init__(self, backend: Backend, of: str, amount: int, compute: Callable[[], torch.Tensor]) -> None:
        self._backend, self._of, self._amount, self._compute = backend, of, amount, compute
        self._timer = backend.step_timer()

    def region_ns(self, units: int) -> int:
        """Do the work `units` times and return the time on the device."""
        self._timer.start()
        self.result = self._backend.repeat_work(self._of, self._amount, units, self._compute)
        self._timer.forward_done()
        self._timer.stop()
        return self._timer.drain().compute_ns[0]

    def units_of(self, region_s: float) -> int:
        """Return how many times the work fits into a region of that length."""
        unit_ns = float(max(1, self.region_ns(1)))
        units = int(region_s * 1e9 / unit_ns)
        if units > 1:  # a single one may be mostly launch
            unit_ns = max(1, self.region_ns(units)) / units
        return max(1, min(_MOST_UNITS, round(region_s * 1e9 / unit_ns)))


def _is_narrow(times_ns: list[int]) -> bool:
    mean = statistics.fmean(times_ns)
    reach = _TWO_SIDED * statistics.stdev(times_ns) / len(times_ns) ** 0.5
    return reach <= _WITHIN * mean
