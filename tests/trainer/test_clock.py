"""The ledger: every nanosecond between begin and spent lies in exactly one phase. Beside it, the agent's clock."""

from __future__ import annotations

import socket
import time
from typing import Any, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.clocks import AGENT_CLOCK, PHASES, AgentClock, Clock, Ledger, SimulatedClock


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


@pytest.fixture
def agent() -> Iterator[AgentClock]:
    agent = AgentClock()
    yield agent
    agent.close()


def test_the_agents_answer_lies_between_two_readings_of_the_ranks_clock(agent: AgentClock, monkeypatch: Any) -> None:
    monkeypatch.setenv(AGENT_CLOCK, agent.name)
    ask = Clock().ask_agent()
    before_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)

    readings = [ask() for _ in range(3)]

    for reading in readings:
        assert reading is not None
        asked_ns, agent_ns, answered_ns = reading
        assert asked_ns < answered_ns
        assert before_ns < agent_ns < time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


def test_several_ranks_are_answered_and_so_are_those_who_come_after_nonsense(
    agent: AgentClock, monkeypatch: Any
) -> None:
    monkeypatch.setenv(AGENT_CLOCK, agent.name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:  # without a name, so it cannot be answered
        stranger.sendto(b"12345678", f"\0{agent.name}")
        stranger.sendto(b"?", f"\0{agent.name}")

    assert all(ask() is not None for ask in [Clock().ask_agent() for _ in range(3)])


def test_an_answer_to_an_earlier_question_is_passed_over(monkeypatch: Any) -> None:
    class Late:
        """Answers the question before with this one."""

        def __init__(self) -> None:
            self.answers = [(7).to_bytes(8, "big") + bytes(8), (1).to_bytes(8, "big") + (5).to_bytes(8, "big")]

        def send(self, question: bytes) -> None:
            assert question == (1).to_bytes(8, "big")

        def recv(self, size: int) -> bytes:
            return self.answers.pop(0)

    ask = Clock().ask_agent()
    ask.__self__._socket = Late()  # type: ignore[attr-defined]

    reading = ask()

    assert reading is not None
    assert reading[1] == 5


def test_without_an_agent_there_is_no_reading(agent: AgentClock, monkeypatch: Any) -> None:
    monkeypatch.delenv(AGENT_CLOCK, raising=False)
    assert Clock().ask_agent()() is None

    monkeypatch.setenv(AGENT_CLOCK, agent.name)
    ask = Clock().ask_agent()
    agent.close()
    assert ask() is None
    assert Clock().ask_agent()() is None


def test_a_simulated_clock_gives_the_agent_the_time_without_the_planted_error() -> None:
    clock = SimulatedClock()
    first, ask = clock.now_ns(), clock.ask_agent()
    clock.rate = 0.8

    clock.spend(10**9)

    assert ask() == (first + 8 * 10**8, first + 10**9, first + 8 * 10**8)
