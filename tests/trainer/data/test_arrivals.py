"""When batches arrive in simulated time, by hand-made schedules of workers."""

from __future__ import annotations

from typing import Any, Iterator

import pytest

from trainer.clocks import SimulatedClock
from trainer.devices.arrivals import Arrivals

DECODE_NS, STEP_NS = 100, 40


class Ahead:
    """Batches of a loader that says whether the next one is there."""

    ready = True

    def __init__(self) -> None:
        self.closed = False

    def __iter__(self) -> Iterator[int]:
        return iter(range(100))

    def close(self) -> None:
        self.closed = True


def waits_of(workers: int, steps: int) -> list[int]:
    """How long each of so many steps waits for its batch."""
    clock, waits = SimulatedClock(), []
    batches = Arrivals(Ahead(), clock, DECODE_NS, workers)
    for _ in range(steps):
        begun_ns = clock.now_ns()
        next(batches)
        waits.append(clock.now_ns() - begun_ns)
        clock.spend(STEP_NS)
    return waits


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (0, [100, 100, 100, 100]),  # decoded when it is wanted
        (1, [100, 60, 60, 60]),  # a batch every 100 from the one worker, steps of 40
        (2, [100, 0, 20, 0, 20, 0]),  # two batches at 100, at 200, ...
        (4, [100, 0, 0, 0, 0, 0, 0, 0]),  # a batch every 25, faster than steps
    ],
)
def test_a_step_waits_for_what_the_workers_have_not_decoded(workers: int, expected: list[int]) -> None:
    assert waits_of(workers, len(expected)) == expected


def test_workers_go_on_while_nobody_takes_a_batch_as_far_as_they_were_asked() -> None:
    clock = SimulatedClock()
    batches = Arrivals(Ahead(), clock, DECODE_NS, workers=1)

    clock.spend(1_000)
    ready = []
    for _ in range(3):
        ready.append(batches.ready)
        next(batches)

    assert ready == [True, True, False]  # two ahead; the third was asked for when the first was taken


def test_a_loader_without_workers_is_never_ready() -> None:
    assert not Arrivals([1, 2], SimulatedClock(), 0, workers=0).ready


def test_batches_are_those_of_the_loader_which_is_closed_with_it() -> None:
    loader = Ahead()
    batches: Any = Arrivals(loader, SimulatedClock(), DECODE_NS, workers=2)

    first = [next(batches) for _ in range(3)]
    batches.close()

    assert (first, loader.closed) == ([0, 1, 2], True)
