"""A measured metric, and the registry of the functions that measure the columns of the vendor's table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Optional

from evidence.bundle import Evidence
from evidence.verdict import Interval


@dataclass(frozen=True)
class Measurement:
    """A metric's value with its unit, how and from what it was computed, and from how many readings (`n`).

    `n` counts the steps of the slowest rank for rates, samples for mem, ranks for e2e_time, images for map; below
    `least` of them there is no interval, and below `decisive` the number is not held against a published one. `within`
    is the interval of a rate without its part between runs, `between` the standard deviation that was assumed for that
    part, relative. `independent` is how many independent blocks the run is estimated to hold. `doubt` is why the number
    may fail but not pass, `note` what to know beside any verdict on it, or "".
    """

    metric: str
    value: float
    unit: str
    interval: Interval | None
    method: str
    source: str
    n: int
    least: int = 0
    doubt: str = ""
    note: str = ""
    within: Interval | None = None
    between: float = 0.0
    independent: float = math.inf
    decisive: int = 0


Compute = Callable[[Evidence], Optional[Measurement]]


@dataclass(frozen=True)
class MetricDefinition:
    """How a metric is measured; the fields are the arguments of `metric`."""

    compute: Compute
    protocols: tuple[str, ...]
    of: str
    whole_recipe: bool
    without: Callable[[Evidence], str]


DEFINITIONS: dict[str, MetricDefinition] = {}
"""The registered metrics by name."""


def metric(
    name: str,
    *protocols: str,
    of: str = "training",
    whole_recipe: bool = False,
    without: Callable[[Evidence], str] = lambda evidence: "",
) -> Callable[[Compute], Compute]:
    """Register the decorated function as what measures the metric; it returns None if the evidence lacks it.

    `protocols`: those that measure it. `of` is "run" for what only a run without a restart shows, "training" for what
    an attempt shows if it trained, "model" for what any attempt shows. With `whole_recipe`, a run that `--epochs`
    shortened does not show it. `without` returns why else a run does not show it, "" if it does. Unit and better side
    are declared in expected/metrics.py.

    >>> @metric("p_core", *TRAINING)  # doctest: +SKIP
    ... def p_core(evidence): ...
    """

    def register(compute: Compute) -> Compute:
        DEFINITIONS[name] = MetricDefinition(compute, protocols, of, whole_recipe, without)
        return compute

    return register
