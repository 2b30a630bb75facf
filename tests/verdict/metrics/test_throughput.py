"""The steps behind p_core, and the ranks that are slower than their siblings."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.bundle import Evidence, read_run
from evidence.verdict import Interval
from expected import Expectation, Topology
from tests.verdict.bundles import STEADY, Bundle, Event, Plan, a_cell, build
from verdict.judge import judge_run
from verdict.metrics.measure import measure
from verdict.metrics.stragglers import pace_interval, paces, stragglers
from verdict.metrics.throughput import StepTimes, step_times

PLAN = replace(STEADY, jitter=3, slower={1: 1.1})


def steps_of(bundle: Bundle, folder: Path) -> StepTimes:
    found = step_times(read_run(bundle.write(folder)))
    assert found is not None
    return found


def recorded_ns(bundle: Bundle, rank: int) -> list[int]:
    windows = [window for window in bundle.all("window", rank) if not window["warmup"]]
    return [time_ns for window in windows for time_ns in window["compute_ns"]]


def test_they_are_those_of_the_slowest_rank_in_the_order_in_which_they_ran(tmp_path: Path) -> None:
    bundle = build(PLAN)

    steps = steps_of(bundle, tmp_path)

    assert steps.rank == 1
    assert steps.compute_ns.tolist() == recorded_ns(bundle, 1)
    assert len(set(steps.compute_ns.tolist())) > 10


def test_of_ranks_that_are_equally_slow_the_first_is_taken(tmp_path: Path) -> None:
    assert steps_of(build(replace(PLAN, slower={})), tmp_path).rank == 0


def test_the_slowest_is_told_by_computing_alone(tmp_path: Path) -> None:
    bundle = build(replace(PLAN, slower={}))
    for window in bundle.all("window", 0):
        window["wait_ns"] *= 10
    for window in bundle.all("window", 1):
        window["compute_ns"][0] += 1

    assert steps_of(bundle, tmp_path).rank == 1


def test_warm_up_is_left_out(tmp_path: Path) -> None:
    assert len(steps_of(build(PLAN), tmp_path).compute_ns) == PLAN.steps


@pytest.mark.parametrize("plan", [PLAN, Plan(jitter=3), Plan(protocol="epoch", maps=(0.1,), slower={0: 1.2})])
def test_images_a_step_over_the_mean_step_is_p_core(plan: Plan, tmp_path: Path) -> None:
    evidence = read_run(build(plan).write(tmp_path))

    steps = step_times(evidence)

    p_core = measure(evidence)["p_core"]
    assert steps.images_per_step / (steps.compute_ns.mean() / 1e9) == pytest.approx(p_core.value, rel=1e-12)
    assert f"rank {steps.rank}" in p_core.method


def test_they_say_what_run_and_machines_they_are_from_and_how_they_were_timed(tmp_path: Path) -> None:
    bundle = build(PLAN)
    bundle.run["id"] = "a run"
    for rank, host in ((0, "node7"), (1, "node3")):
        bundle.one("start", rank).update(device_name="X100", host=host, timing="device_events")

    steps = steps_of(bundle, tmp_path)

    assert (steps.run_id, steps.timing) == ("a run", "device_events")
    assert (steps.cards, steps.hosts) == (("X100",), ("node3", "node7"))


@given(st.lists(st.integers(0, 2**51 - 1), min_size=1, max_size=50))
def test_seconds_give_the_recorded_nanoseconds_back(times_ns: list[int]) -> None:
    steps = StepTimes("a run", 0, "device_events", np.array(times_ns, dtype=np.int64), 4.0, (), ())

    seconds = steps.seconds()

    assert seconds == [time_ns / 1e9 for time_ns in times_ns]
    assert [round(second * 1e9) for second in seconds] == times_ns
    assert {type(second) for second in seconds} == {float}


@pytest.mark.parametrize("event", ["start", "train_begin", "train_end"])
def test_without_a_rank_that_came_through_there_are_none(event: str, tmp_path: Path) -> None:
    bundle = build(PLAN)
    bundle.drop(event, 1)

    assert step_times(read_run(bundle.write(tmp_path))) is None


def test_without_a_measured_step_there_are_none(tmp_path: Path) -> None:
    bundle = build(PLAN)
    for rank in bundle.ranks:
        bundle.drop("window", rank)

    assert step_times(read_run(bundle.write(tmp_path))) is None


def test_without_run_json_there_are_none(tmp_path: Path) -> None:
    build(PLAN).write(tmp_path)
    (tmp_path / "run.json").write_text("no JSON")

    assert step_times(read_run(tmp_path)) is None


EIGHT = replace(STEADY, topology=Topology(1, 8))


def evidence_of(plan: Plan, folder: Path, forward: dict[int, float]) -> Evidence:
    """All ranks take as long for a step, because each waits for the slowest; their forward passes differ."""
    bundle = build(plan)
    for rank, factor in forward.items():
        for window in bundle.all("window", rank):
            window["forward_ns"] = int(window["forward_ns"] * factor)
    return read_run(bundle.write(folder))


def test_a_slow_rank_is_named_with_its_device(tmp_path: Path) -> None:
    (slow,) = stragglers(evidence_of(EIGHT, tmp_path / "run", {3: 1.1}))

    assert (slow.rank, slow.host, slow.card) == (3, "node0", 3)
    assert slow.slower == pytest.approx(0.1, abs=1e-3)
    assert str(slow) == "rank 3 (device 3 of node0) is 10% slower than its siblings"


def test_the_slowest_comes_first(tmp_path: Path) -> None:
    found = stragglers(evidence_of(EIGHT, tmp_path / "run", {2: 1.1, 5: 1.3, 6: 1.2}))

    assert [one.rank for one in found] == [5, 6, 2]


@pytest.mark.parametrize("factor", [1.0, 1.04, 0.5])
def test_small_differences_and_fast_ranks_are_not_named(factor: float, tmp_path: Path) -> None:
    assert stragglers(evidence_of(EIGHT, tmp_path / "run", {3: factor})) == ()


def test_one_rank_alone_has_no_siblings(tmp_path: Path) -> None:
    assert stragglers(evidence_of(replace(STEADY, topology=Topology(1, 1)), tmp_path / "run", {0: 2.0})) == ()


def test_ranks_without_a_forward_pass_name_nobody(tmp_path: Path) -> None:
    assert stragglers(evidence_of(STEADY, tmp_path / "run", {0: 0.0})) == ()


def test_a_rate_that_fails_names_the_slow_rank_and_one_that_passes_does_not(tmp_path: Path) -> None:
    plan = replace(EIGHT, slower={3: 1.1})
    evidence = read_run(build(plan).write(tmp_path / "run"))
    rate = 8 * 4 * (1 - 1 / 28) / 0.040  # images of a step over its time, on eight fast devices

    accepted = Expectation("accepted", rate, 0.95 * rate)
    verdict = judge_run(evidence, a_cell(plan, p_core=accepted, p_train=Expectation("accepted", 600.0, 570.0)))

    assert verdict.metrics["p_core"].verdict == "fail"
    assert "rank 3 (device 3 of node0) is 10% slower" in verdict.metrics["p_core"].reason
    assert verdict.metrics["p_train"].verdict == "pass"
    assert "slower" not in verdict.metrics["p_train"].reason


def test_a_rate_that_is_undecided_names_the_slow_rank(tmp_path: Path) -> None:
    plan = replace(EIGHT, slower={3: 1.1}, steps=60)
    evidence = read_run(build(plan).write(tmp_path / "run"))

    verdict = judge_run(evidence, a_cell(plan, p_core=600.0))

    assert verdict.metrics["p_core"].verdict == "inconclusive"
    assert "rank 3 (device 3 of node0) is 10% slower" in verdict.metrics["p_core"].reason


def test_of_two_ranks_the_slow_one_is_held_against_the_other_alone(tmp_path: Path) -> None:
    (slow,) = stragglers(evidence_of(STEADY, tmp_path / "run", {1: 1.08}))

    assert slow.rank == 1
    assert slow.slower == pytest.approx(0.08, abs=1e-3)


def interval_of(evidence: Evidence) -> Interval:
    return pace_interval(evidence, paces(evidence)[0])


def test_ranks_that_are_alike_leave_a_slow_one_no_excuse(tmp_path: Path) -> None:
    interval = interval_of(evidence_of(EIGHT, tmp_path / "run", {3: 1.1}))

    assert (interval.low, interval.high) == (pytest.approx(1.1, abs=1e-3), pytest.approx(1.1, abs=1e-3))


def test_ranks_that_differ_by_two_percent_each_may_have_a_slowest_by_chance(tmp_path: Path) -> None:
    spread = {0: 0.98, 1: 0.97, 2: 1.02, 3: 1.07, 4: 1.01, 5: 0.99, 6: 1.0, 7: 1.03}
    interval = interval_of(evidence_of(EIGHT, tmp_path / "run", spread))

    # The others' median is 1.0 and their median absolute deviation 0.02: 7 of them, so 6 degrees of freedom.
    reach = 2.4469 * 0.02 / 0.6745 * math.sqrt(1 + 1 / 7)
    assert interval.low == pytest.approx(1.07 - reach, abs=1e-3)
    assert interval.high == pytest.approx(1.07, abs=1e-3)


def test_a_second_slow_rank_does_not_hide_the_first(tmp_path: Path) -> None:
    assert interval_of(evidence_of(EIGHT, tmp_path / "run", {3: 1.12, 5: 1.1})).low > 1.05


@pytest.mark.parametrize(("simulated", "low"), [(False, 1.1 - 1.96 * 0.02 * math.sqrt(2)), (True, 1.1)])
def test_of_two_ranks_the_spread_is_assumed_but_on_simulated_time(tmp_path: Path, simulated: bool, low: float) -> None:
    interval = interval_of(evidence_of(replace(STEADY, simulated=simulated), tmp_path / "run", {1: 1.1}))

    assert interval.low == pytest.approx(low, abs=1e-3)


def test_windows_that_scatter_widen_the_interval_of_a_straggler(tmp_path: Path) -> None:
    bundle = build(EIGHT)
    for at, window in enumerate(bundle.all("window", 3)):
        window["forward_ns"] = int(window["forward_ns"] * (1.04 + 0.02 * (-1) ** at))

    interval = interval_of(read_run(bundle.write(tmp_path / "run")))

    assert 1.0 < interval.low < 1.035
    assert 1.045 < interval.high < 1.08


def test_of_few_windows_the_ratio_is_taken_as_exact(tmp_path: Path) -> None:
    interval = interval_of(evidence_of(replace(EIGHT, steps=40), tmp_path / "run", {3: 1.1}))

    assert interval.low == interval.high


def test_a_warmup_that_was_slow_names_nobody(tmp_path: Path) -> None:
    bundle = build(EIGHT)
    for window in bundle.all("window", rank=3):
        if window["warmup"]:
            window["forward_ns"] *= 5

    assert stragglers(read_run(bundle.write(tmp_path / "run"))) == ()


# ---- timed by windows ----

ACCEPTED = Expectation("accepted", 180.0, 170.0)


def by_windows(plan: Plan, folder: Path, change: Callable[[Event], Any] = lambda window: None) -> Evidence:
    """Compute is known by window; the shares of single steps scatter as the host's clock does."""
    bundle = build(plan)
    for rank in bundle.ranks:
        bundle.one("start", rank)["timing"] = "synchronised_windows"
        for window in bundle.all("window", rank):
            total, steps = sum(window["compute_ns"]), len(window["compute_ns"])
            window["compute_ns"] = [total - (steps - 1), *[1] * (steps - 1)]
            window["forward_images"] = window["images"][0]
            window["forward_ns"] //= steps
            change(window)
    return read_run(bundle.write(folder))


def test_of_windows_the_sums_are_judged_and_not_the_shares_of_steps(tmp_path: Path) -> None:
    plan = replace(STEADY, steps=200, jitter=3)

    verdict = judge_run(by_windows(plan, tmp_path), a_cell(plan, p_core=ACCEPTED, p_train=ACCEPTED))

    p_core = verdict.metrics["p_core"]
    assert p_core.verdict == "pass", p_core.reason
    assert p_core.measured is not None
    assert p_core.interval.high / p_core.measured < 1.01


def test_a_device_that_slows_down_is_seen_by_its_windows(tmp_path: Path) -> None:
    plan = replace(STEADY, steps=200)

    def slow_down(window: Event) -> None:
        if window["step"] >= 120:
            window["compute_ns"][0] = int(window["compute_ns"][0] * 1.2)
            window["wall_ns"] = int(window["wall_ns"] * 1.2)

    reasons = judge_run(by_windows(plan, tmp_path, slow_down), a_cell(plan, p_core=ACCEPTED)).reasons

    assert any("expected them within 10%: the device was not in a steady state" in reason for reason in reasons)


@pytest.mark.parametrize(("window", "more"), [(20, 60), (10, None)])
def test_fewer_than_eight_windows_have_no_interval(window: int, more: int | None, tmp_path: Path) -> None:
    plan = replace(STEADY, steps=100, window=window)

    p_core = judge_run(by_windows(plan, tmp_path), a_cell(plan, p_core=ACCEPTED)).metrics["p_core"]

    assert (p_core.interval is None) == (more is not None)
    if more:
        assert p_core.verdict == "inconclusive"
        assert p_core.reason.endswith(f"too few for a confidence interval; at least {more} more steps are needed")


def test_a_slow_rank_is_found_from_the_forward_passes_that_were_timed(tmp_path: Path) -> None:
    evidence = by_windows(replace(EIGHT, slower={3: 1.2}), tmp_path)

    (slow,) = stragglers(evidence)

    assert slow.rank == 3
    assert slow.slower == pytest.approx(0.2, abs=1e-3)


def test_older_windows_name_no_slow_rank_as_they_timed_the_queueing_alone(tmp_path: Path) -> None:
    bundle = build(replace(EIGHT, slower={3: 1.2}))
    for rank in bundle.ranks:
        bundle.one("start", rank).update(timing="synchronised_windows", schema=2)
        for window in bundle.all("window", rank):
            for name in ("forward_images", "read_ns", "span_ns", "span_device_ns"):
                del window[name]

    assert stragglers(read_run(bundle.write(tmp_path))) == ()
