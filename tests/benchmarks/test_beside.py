"""The kit that times two ways beside each other, with times that are known."""

from __future__ import annotations

import statistics
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.beside import beside, ratio_of

TIMES = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=5, max_size=60)


class FakeBenchmark:
    """Stands for pytest-benchmark's fixture, of which `pedantic` and `extra_info` are used."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, function: Callable[[], None], setup: Callable[[], None], rounds: int, **_: int) -> None:
        for _round in range(rounds):
            setup()
            function()


def test_both_ways_are_called_by_turns_and_timed_apart() -> None:
    calls: list[str] = []
    # The clock is read before and after each timed call: 8 s for the reference, 2 s for ours, in every round.
    ticks = iter(accumulate([0.0, *[8.0, 0.5, 2.0, 0.5] * 5]))
    benchmark = FakeBenchmark()

    found = beside(
        benchmark,
        lambda: calls.append("ours"),
        lambda: calls.append("reference"),
        name="a way",
        units=10,
        clock=lambda: next(ticks),
    )

    assert calls == ["ours", "reference", *["reference", "ours"] * 5]
    assert (found.ratio, found.interval) == (4.0, (4.0, 4.0))
    assert (found.ours_s, found.reference_s) == ((2.0,) * 5, (8.0,) * 5)
    assert (found.ours_rate, found.reference_rate) == (5.0, 1.25)
    assert benchmark.extra_info["ratio"] == 4.0
    assert "ratio    4.00   [4.00, 4.00]" in str(found)


def test_fewer_than_five_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="4 rounds, expected at least 5"):
        beside(SimpleNamespace(), print, print, name="a way", rounds=4)


@pytest.mark.parametrize(("rounds", "outside"), [(5, 0), (6, 0), (8, 0), (9, 1), (15, 3), (25, 7)])
def test_the_interval_leaves_out_as_many_as_the_sign_test_allows(rounds: int, outside: int) -> None:
    # The ranks of the classic table of the median's confidence limits: 9 rounds, the second and the eighth.
    found = ratio_of("x", [1.0] * rounds, [float(at) for at in range(rounds)], units=1, unit="x")

    assert found.interval == (float(outside), float(rounds - 1 - outside))


@given(TIMES)
def test_the_median_ratio_of_the_pairs_lies_within_its_interval(times: list[tuple[float, float]]) -> None:
    found = ratio_of("x", [ours for ours, _ in times], [other for _, other in times], units=1, unit="x")

    assert found.ratio == statistics.median(other / ours for ours, other in times)
    assert found.interval[0] <= found.ratio <= found.interval[1]


def test_the_rates_are_those_of_the_median_round() -> None:
    found = ratio_of("x", [1.0, 2.0, 50.0, 4.0, 5.0], [10.0] * 5, units=20, unit="images")

    assert (found.ours_rate, found.reference_rate) == (5.0, 2.0)
