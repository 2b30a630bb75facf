"""Are the clocks honest that the device was timed by? Each rank put them to the test before it trained."""

from __future__ import annotations

from fixtures.ask.questions import ClockTest
from fixtures.select.registry import each_cell, question


@question("clock", of=each_cell, part="timer")
def test_timer_sees_queued_work(clock_test: ClockTest) -> None:
    """The step timer sees a known amount of work that was queued on the device."""
    clock_test.require("timer-sees-work")


@question("clock", of=each_cell, part="synchronise")
def test_synchronise_waits(clock_test: ClockTest) -> None:
    """When `synchronise` has returned, the work is done."""
    clock_test.require("synchronise-waits")


@question("clock", of=each_cell, part="monotonic")
def test_clock_is_monotonic(clock_test: ClockTest) -> None:
    """The host's clock never goes back, and was not set during the run."""
    clock_test.require("host-clock-monotonic", "clocks-agree")
