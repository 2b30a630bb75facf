"""Positions in a training add up, and an epoch's stretches cover it once, from wherever it is taken up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.loop.position import Position, stretches

STEPS = st.integers(1, 400)


@st.composite
def positions(draw: st.DrawFn) -> Position:
    steps = draw(STEPS)
    return Position(draw(st.integers(0, 30)), draw(st.integers(0, steps)), steps)


@given(at=positions())
def test_steps_done_and_steps_left_make_whole_epochs(at: Position) -> None:
    assert at.taken + at.left == (at.epoch + 1) * at.steps


@given(at=positions())
def test_the_end_of_an_epoch_is_the_beginning_of_the_next(at: Position) -> None:
    end, begin = Position(at.epoch, at.steps, at.steps), Position(at.epoch + 1, 0, at.steps)

    assert end.taken == begin.taken
    assert (end.left, begin.left) == (0, at.steps)


@pytest.mark.parametrize(("epoch", "step", "steps"), [(-1, 0, 5), (0, -1, 5), (0, 6, 5), (0, 0, 0)])
def test_what_no_training_comes_to_is_no_position(epoch: int, step: int, steps: int) -> None:
    with pytest.raises(ValueError, match=f"step {step} of {steps} in epoch {epoch} is no position"):
        Position(epoch, step, steps)


@given(at=positions(), every=st.integers(0, 500))
def test_stretches_cover_what_is_left_once_and_end_where_something_is_kept(at: Position, every: int) -> None:
    cut = stretches(at.step, at.steps, every)

    assert [step for begin, end in cut for step in range(begin, end)] == list(range(at.step, at.steps))
    kept = [end for _, end in cut[:-1]]
    assert kept == [step for step in range(at.step + 1, at.steps) if every and step % every == 0]


@given(at=positions(), every=st.integers(1, 500))
def test_an_epoch_is_cut_alike_wherever_it_is_taken_up(at: Position, every: int) -> None:
    whole = stretches(0, at.steps, every)

    assert {end for _, end in stretches(at.step, at.steps, every)} == {end for _, end in whole if end > at.step}
