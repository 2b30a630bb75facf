"""The ledger: every nanosecond between begin and spent lies in exactly one phase."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.clocks import PHASES, Ledger


class Ticks:
    """A clock that goes on only when told."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def __call__(self) -> int:
        return self.now_ns


@given(st.lists(st.tuples(st.sampled_from(PHASES), st.integers(0, 10**9)), max_size=50))
def test_the_phases_sum_to_the_wall_time(visits: list[tuple[str, int]]) -> None:
    clock = Ticks()
    ledger = Ledger(clock)
    begun_ns = ledger.begin()

    for phase, passes_ns in visits:
        ledger.enter(phase)
        clock.now_ns += passes_ns

    assert sum(ledger.spent().values()) == clock.now_ns - begun_ns


def test_time_goes_to_the_phase_that_was_open() -> None:
    clock = Ticks()
    ledger = Ledger(clock)
    ledger.begin()
    ledger.enter("data_wait")
    clock.now_ns += 30
    ledger.enter("compute")
    clock.now_ns += 70

    spent = ledger.spent()

    assert (spent["data_wait_ns"], spent["compute_ns"], spent["copy_ns"]) == (30, 70, 0)


def test_what_came_before_begin_is_forgotten() -> None:
    clock = Ticks()
    ledger = Ledger(clock)
    ledger.enter("evaluation")
    clock.now_ns += 500
    ledger.begin()
    clock.now_ns += 7

    assert sum(ledger.spent().values()) == 7
    assert ledger.phase == "idle"


def test_a_phase_that_does_not_exist_is_an_error_at_once() -> None:
    with pytest.raises(KeyError, match="computing"):
        Ledger().enter("computing")
