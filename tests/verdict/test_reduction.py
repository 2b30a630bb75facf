"""Samples of a training become one number, by the reduction that is declared for them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.bundle import read_run
from tests.verdict.bundles import Plan, build
from verdict.metrics.reduction import card_readings, over_time, run_readings

SHORT = Plan(steps=40, maps=(0.4,))


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def times(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(("how", "number"), [("max", 30.0), ("last", 20.0), ("mean", 20.0)])
def test_a_column_is_reduced_as_declared(how: str, number: float) -> None:
    assert over_time(how, times(0, 10, 20), column(10, 30, 20)) == pytest.approx(22.5 if how == "mean" else number)


def test_a_mean_is_weighted_by_time_not_by_samples() -> None:
    # A thousand watts in ten samples of one second, then nothing for a hundred seconds with a sample every fifty.
    t_ns = times(*range(11), 11, 61, 111)

    assert over_time("mean", t_ns, column(*[1000.0] * 11, 0, 0, 0)) == pytest.approx((10 * 1000 + 500) / 111)


def test_the_order_of_the_lines_does_not_matter() -> None:
    assert over_time("last", times(20, 0, 10), column(3, 1, 2)) == 3.0
    assert over_time("mean", times(20, 0, 10), column(3, 1, 2)) == 2.0


def test_samples_without_the_reading_are_left_out_and_of_none_there_is_no_number() -> None:
    assert over_time("max", times(0, 1), column(math.nan, 5)) == 5.0
    assert over_time("max", times(0, 1), column(math.nan, math.nan)) is None


@given(st.lists(st.tuples(st.integers(0, 10**12), st.floats(0, 1e4)), min_size=1, max_size=30))
def test_a_mean_lies_between_the_smallest_and_the_largest(samples: list[tuple[int, float]]) -> None:
    t_ns, values = times(*(t for t, _ in samples)), column(*(value for _, value in samples))

    mean = over_time("mean", t_ns, values)

    assert mean is not None
    assert values.min() - 1e-6 <= mean <= values.max() + 1e-6


def test_only_the_training_counts_and_cards_are_reduced_too(tmp_path: Path) -> None:
    bundle = build(replace(SHORT, eval_ns=20_000_000_000))
    for sample in bundle.telemetry:
        begin_ns = bundle.one("train_begin", sample["rank"])["t_ns"]
        at_work = sample["t_ns"] >= begin_ns
        sample.update(power_w=200.0 + 100 * sample["rank"] if at_work else 9000.0, temperature_c=60.0 + sample["rank"])

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert card_readings(evidence)[("node0", 1)] == {"power_w": 300.0, "temperature_c": 61.0}
    assert run_readings(evidence) == {"power_w": 250.0, "temperature_c": 61.0}
