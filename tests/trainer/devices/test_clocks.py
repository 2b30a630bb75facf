"""A simulated clock advances by what is planted alone, and makes the calls that fall due on the way."""

from __future__ import annotations

import time

import pytest

from trainer import clocks
from trainer.clocks import Clock, SimulatedClock


def test_a_simulated_clock_stands_still_while_the_host_works() -> None:
    clock = SimulatedClock()
    begun_ns = clock.now_ns()

    time.sleep(0.001)

    assert clock.now_ns() == begun_ns


def test_it_advances_to_the_time_that_is_waited_for_and_never_back() -> None:
    clock = SimulatedClock()
    begun_ns = clock.now_ns()

    clock.wait_until(begun_ns + 50)
    clock.wait_until(begun_ns + 20)
    clock.spend(7.4)
    clock.join(begun_ns + 10)

    assert clock.now_ns() == begun_ns + 57


def test_calls_are_made_in_order_each_at_its_own_time() -> None:
    clock, made = SimulatedClock(), []
    begun_ns = clock.now_ns()

    def again() -> None:
        made.append(("again", clock.now_ns() - begun_ns))
        clock.call_at(clock.now_ns() + 30, again)

    clock.call_at(begun_ns + 30, again)
    clock.call_at(begun_ns + 45, lambda: made.append(("once", clock.now_ns() - begun_ns)))
    clock.wait_until(begun_ns + 60)

    assert made == [("again", 30), ("once", 45), ("again", 60)]
    assert clock.now_ns() == begun_ns + 60


def test_what_would_take_decades_hangs_in_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class HangsError(Exception):
        pass

    def sleep(seconds: float) -> None:
        raise HangsError

    monkeypatch.setattr(clocks.time, "sleep", sleep)
    clock = SimulatedClock()

    with pytest.raises(HangsError):
        clock.wait_until(2**61)


def test_the_hosts_clock_is_waited_for_and_takes_no_planted_work() -> None:
    clock = Clock()
    until_ns = clock.now_ns() + 2_000_000

    clock.wait_until(until_ns)
    clock.spend(3600e9)
    clock.join(until_ns + 3600 * 10**9)

    assert until_ns <= clock.now_ns() < until_ns + 3600 * 10**9
