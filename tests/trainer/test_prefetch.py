"""The thread that fetches one batch ahead hands on everything, in order, errors too, and ends when it is told to."""

from __future__ import annotations

import threading
from typing import Any, Iterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trainer.loop.staging import Prefetch


@hypothesis_settings(deadline=None)
@given(batches=st.lists(st.integers() | st.none()))
def test_every_batch_comes_once_and_in_order(batches: list[Any]) -> None:
    assert list(Prefetch(iter(batches))) == batches


def test_ready_says_whether_next_would_wait() -> None:
    gate = threading.Event()

    def slow() -> Iterator[int]:
        yield 1
        gate.wait()
        yield 2

    batches = Prefetch(slow())
    assert next(batches) == 1
    assert not batches.ready

    gate.set()
    assert next(batches) == 2
    with pytest.raises(StopIteration):
        next(batches)
    assert batches.ready
    with pytest.raises(StopIteration):
        next(batches)


def test_a_batch_that_was_fetched_is_ready() -> None:
    batches = Prefetch(iter([1]))
    while not batches.ready:
        pass

    assert next(batches) == 1


def test_an_error_comes_where_the_batch_would_have_come() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    batches = Prefetch(broken())

    assert next(batches) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_what_is_handed_on_was_prepared_in_the_thread_that_fetched_it() -> None:
    def prepare(batch: int) -> tuple[int, str]:
        return batch * 10, threading.current_thread().name

    assert list(Prefetch(iter([1, 2]), prepare)) == [(10, "prefetch"), (20, "prefetch")]


def test_an_error_in_preparing_comes_where_the_batch_would_have_come() -> None:
    batches = Prefetch(iter([4, 0]), lambda batch: 8 // batch)

    assert next(batches) == 2
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_closing_ends_the_thread_of_an_endless_source() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    before = threading.active_count()
    batches = Prefetch(endless())
    next(batches)

    batches.close()

    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(batches)
