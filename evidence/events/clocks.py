"""Events of the clock tests: what known work on the device took, by each clock that training is timed with."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from evidence.events.declare import event

SIMULATED_CLOCK = "simulated"
"""`Start.clock` of a clock that only planted work advances."""

LEAST_WORK_NS = 1_000_000
"""A round of a clock test that is shorter shows nothing: queueing the work takes as long as doing it."""


@event("clock_test", once=True)
@dataclass(frozen=True)
class ClockProbe:
    """What a known amount of work, queued on the device before training, took by each clock; one entry a round.

    `side`, `units`: the work of a round, matrix products. `work_ns`: until its result was read back. `synchronise_ns`,
    `after_ns`: until synchronise returned, and from there until the result was read. `timer_ns`, `timer_wall_ns`: by
    the step timer, and by the host's clock around it. `steps_back` counts backward steps of the host's clock. `note`
    has what is not known of the backend's synchronise.
    """

    work_ns: tuple[int, ...]
    synchronise_ns: tuple[int, ...]
    after_ns: tuple[int, ...]
    timer_ns: tuple[int, ...]
    timer_wall_ns: tuple[int, ...]
    steps_back: int
    side: int | None = None
    units: int | None = None
    note: str = ""

    @property
    def rounds(self) -> tuple[tuple[int, ...], ...]:
        """All lists that have one entry a round."""
        return self.work_ns, self.synchronise_ns, self.after_ns, self.timer_ns, self.timer_wall_ns

    @property
    def shortest_ns(self) -> float:
        """The median time of a round, of the two readings that have the whole of it the shorter one."""
        return min(statistics.median(self.work_ns), statistics.median(self.timer_wall_ns))


@event("clock_retest")
@dataclass(frozen=True)
class ClockRetest:
    """The clock test again, between two steps of training: `step` came next. The lists are as in ClockProbe."""

    step: int
    synchronise_ns: tuple[int, ...]
    after_ns: tuple[int, ...]
    timer_ns: tuple[int, ...]
    timer_wall_ns: tuple[int, ...]

    @property
    def rounds(self) -> tuple[tuple[int, ...], ...]:
        """All lists that have one entry a round."""
        return self.synchronise_ns, self.after_ns, self.timer_ns, self.timer_wall_ns


@event("agent_clock")
@dataclass(frozen=True)
class AgentClock:
    """A reading of the clock of the host's agent, a process beside the rank, between two readings of the rank's own.

    The rank asked at `asked_ns` and had the answer `agent_ns` at `t_ns`. On a simulated clock the agent's is the
    simulation's.
    """

    asked_ns: int
    agent_ns: int
    t_ns: int = 0
