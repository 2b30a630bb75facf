"""From evidence to points: nothing that stands out is lost, nothing is made up."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.bundle import Evidence, read_run
from expected import Topology
from reports.html.sections.series import (
    Spans,
    histogram,
    losses,
    on_grid,
    rank_rates,
    run_rates,
    samples,
    stalls,
    zero_ns,
)
from tests.reports.html.runs import TWO_RANKS, all_readings, stall
from tests.verdict.bundles import STEADY, Bundle, Plan, build

NUMBERS = st.floats(-1e6, 1e6)


def evidence_of(bundle: Bundle, folder: Path) -> Evidence:
    return read_run(bundle.write(folder))


def one_after_the_other(values: Any) -> Spans:
    begin_s = np.arange(len(values), dtype=float)
    return Spans(begin_s, begin_s + 1, np.array(values, dtype=float))


@given(st.lists(NUMBERS, min_size=1, max_size=500), st.integers(1, 50))
def test_the_lowest_and_the_highest_value_are_drawn_however_few_the_points(values: list, buckets: int) -> None:
    x, (drawn,) = on_grid([one_after_the_other(values)], buckets)

    known = [value for value in drawn if value is not None]
    assert len(drawn) == len(x) == 2 * buckets
    assert (min(known), max(known)) == (min(values), max(values))
    assert set(known) <= set(values)
    assert x == sorted(x)


def test_where_a_line_has_no_value_none_is_drawn() -> None:
    begin_s = np.array([0.0, 8.0])
    line = Spans(begin_s, begin_s + 2, np.array([5.0, 7.0]))

    _, (drawn,) = on_grid([line], buckets=10)

    assert drawn == [5.0] * 4 + [None] * 12 + [7.0] * 4


def test_lines_of_different_length_share_one_axis() -> None:
    x, (first, second, nothing) = on_grid(
        [one_after_the_other([1, 2, 3, 4]), one_after_the_other([9, 8]), one_after_the_other([])], buckets=4
    )

    assert first == [1, 1, 2, 2, 3, 3, 4, 4]
    assert second == [9, 9, 8, 8, None, None, None, None]
    assert nothing == [None] * 8
    assert (x[0], x[-1]) == (0.25, 3.75)


def test_the_axis_reaches_as_far_as_what_is_marked_on_it() -> None:
    x, _ = on_grid([one_after_the_other([1, 2])], buckets=10, also_s=[-10.0, 12.0])

    assert x[0] < -9
    assert x[-1] > 11


def test_a_spike_is_drawn_on_the_side_on_which_it_happened() -> None:
    _, (drawn,) = on_grid([one_after_the_other([1, 1, 9, 9, 9, 1])], buckets=2)

    assert drawn == [1, 9, 9, 1]


def test_a_sample_holds_until_halfway_to_the_next_and_silence_is_a_gap() -> None:
    t_ns = np.array([0, 1, 2, 3, 4, 60, 61], dtype=np.int64) * 1_000_000_000

    line = samples(t_ns, np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0]), zero=0)

    assert line.values.tolist() == [1, 2, 4, 5, 6, 7]
    assert line.begin_s.tolist() == [-1.5, 0.5, 2.0, 3.5, 58.5, 60.5]
    assert line.end_s.tolist() == [0.5, 2.0, 3.5, 5.5, 60.5, 62.5]


def test_the_throughput_of_a_window_is_the_images_of_all_ranks_over_the_longest_wall_time(tmp_path: Path) -> None:
    evidence = evidence_of(build(TWO_RANKS), tmp_path)

    rates = run_rates(evidence.ranks)

    windows = [rank.windows for rank in evidence.ranks]
    images = sum(int(one.images[: one.size[0]].sum()) for one in windows)
    longest_s = max(int(one.wall_ns[0]) for one in windows) / 1e9
    assert rates.values[0] == pytest.approx(images / longest_s)
    assert len(rates.values) == len(windows[0].size)
    assert rates.end_s[0] == pytest.approx((windows[0].t_ns[0] - evidence.ranks[0].train_begin_ns) / 1e9)


def test_a_window_that_a_rank_did_not_write_has_no_throughput(tmp_path: Path) -> None:
    bundle = build(TWO_RANKS)
    bundle.ranks[1].remove(bundle.all("window", 1)[3])

    evidence = evidence_of(bundle, tmp_path)

    assert len(run_rates(evidence.ranks).values) == len(evidence.ranks[1].windows.size)
    assert len(rank_rates(evidence.ranks[0]).values) == len(evidence.ranks[0].windows.size)


def test_warm_up_windows_are_drawn_before_training_began(tmp_path: Path) -> None:
    evidence = evidence_of(build(STEADY), tmp_path)

    rates = run_rates(evidence.ranks)

    assert (rates.end_s <= 0).sum() == evidence.ranks[0].windows.warmup.sum() == 2
    assert (np.diff(rates.end_s) > 0).all()


def test_times_are_counted_from_the_start_where_training_never_began(tmp_path: Path) -> None:
    bundle = build(TWO_RANKS)
    bundle.drop("train_begin")

    rank = evidence_of(bundle, tmp_path).ranks[0]

    assert rank.start is not None
    assert zero_ns(rank) == rank.start.t_ns


def test_losses_of_few_steps_are_those_of_each_step(tmp_path: Path) -> None:
    evidence = evidence_of(all_readings(), tmp_path)

    found = losses(evidence.ranks)

    assert found is not None
    first, second = (rank.windows.loss for rank in evidence.ranks)
    assert found.step.tolist() == list(range(len(first)))
    assert found.low.tolist() == np.minimum(first, second).tolist()
    assert found.high.tolist() == np.maximum(first, second).tolist()
    assert found.count == 0


@pytest.mark.parametrize("buckets", [7, 50, 200])
def test_the_highest_loss_is_drawn_however_many_the_steps(tmp_path: Path, buckets: int) -> None:
    bundle = build(TWO_RANKS)
    bundle.all("window", 1)[5]["loss"][3] = 77.0

    found = losses(evidence_of(bundle, tmp_path).ranks, buckets)

    assert found is not None
    assert np.nanmax(found.high) == 77.0
    assert len(found.step) <= buckets
    assert (found.low <= found.middle).all()
    assert (found.middle <= found.high).all()


def test_a_loss_that_is_not_finite_is_counted_named_and_not_drawn(tmp_path: Path) -> None:
    bundle = build(TWO_RANKS)
    for rank, window, loss in ((0, 4, "NaN"), (1, 2, "Infinity"), (1, 3, "-Infinity")):
        bundle.all("window", rank)[window]["loss"][5] = loss

    found = losses(evidence_of(bundle, tmp_path).ranks)

    assert found is not None
    assert found.not_finite == (1, 25)
    assert found.count == 3
    assert np.isfinite(found.high).all()


def test_there_is_no_loss_without_a_step() -> None:
    assert losses([]) is None


def test_a_stall_is_found_with_its_cause_and_what_it_cost(tmp_path: Path) -> None:
    bundle = build(TWO_RANKS)
    stall(bundle, 1, at=6, ns=4_000_000_000)

    (found,) = stalls(evidence_of(bundle, tmp_path).ranks)

    assert (found.rank, found.step, found.cause) == (1, 60, "data")
    assert found.lost_s == pytest.approx(4.0, rel=0.05)
    assert found.end_s - found.begin_s == pytest.approx(4.5, rel=0.1)


def test_a_stall_that_several_ranks_saw_is_one(tmp_path: Path) -> None:
    bundle = build(replace(Plan(), topology=Topology(1, 3)))
    stall(bundle, 1, at=6, ns=4_000_000_000)
    for rank in (0, 2):
        stall(bundle, rank, at=6, ns=4_000_000_000)
        window = bundle.all("window", rank)[6]
        window["wait_ns"] -= 4_000_000_000
        window["compute_ns"] = [ns + 400_000_000 for ns in window["compute_ns"]]

    (found,) = stalls(evidence_of(bundle, tmp_path).ranks)

    assert (found.rank, found.cause) == (1, "data")


def test_a_steady_run_has_no_stall(tmp_path: Path) -> None:
    assert stalls(evidence_of(build(TWO_RANKS), tmp_path).ranks) == []


@given(st.lists(st.floats(0.1, 1e5), min_size=1, max_size=300))
def test_every_step_is_in_the_histogram(times: list) -> None:
    middles, counts, beyond = histogram(np.array(times))

    assert counts.sum() == len(times)
    assert len(middles) == len(counts)
    assert 0 <= beyond <= len(times)
    assert (np.diff(middles) > 0).all()


def test_a_few_far_off_steps_do_not_set_the_scale() -> None:
    middles, counts, beyond = histogram(np.append(np.linspace(10, 11, 1000), [500.0, 900.0]))

    assert middles[-1] < 12
    assert counts[-1] >= beyond == 2
    assert not math.isnan(middles[0])
