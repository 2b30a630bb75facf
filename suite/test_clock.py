"""Are the clocks honest that the device was timed by? Each rank put them to the test before it trained and in it."""

from __future__ import annotations

from fixtures.ask.questions import ClockTest
from fixtures.select.registry import each_cell, question


@question("clock", of=each_cell, part="timer", phase="probes")
def test_timer_sees_queued_work(clock_test: ClockTest) -> None:
    """The step timer sees a known amount of work that was queued on the device, and its events keep the host's time."""
    clock_test.require("timer-sees-work", "events-agree")


@question("clock", of=each_cell, part="synchronise", phase="probes")
def test_synchronise_waits(clock_test: ClockTest) -> None:
    """When `synchronise` has returned, the work is done."""
    clock_test.require("synchronise-waits", "windows-end-idle")


@question("clock", of=each_cell, part="monotonic", phase="probes")
def test_clock_is_monotonic(clock_test: ClockTest) -> None:
    """The host's clock never goes back, was not set during the run, and agrees with the agent's."""
    clock_test.require("host-clock-monotonic", "clocks-agree", "agent-agrees")
