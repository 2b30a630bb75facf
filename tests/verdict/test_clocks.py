"""A clock that lies makes the run invalid, and says how it lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.verdict import RunVerdict, Verdict
from tests.verdict.bundles import HONEST_CLOCK, Bundle, Plan, a_cell, build
from verdict.checks.clocks import clock_faults
from verdict.judge import judge_run

MS = 1_000_000


def judged(bundle: Bundle, folder: Path) -> RunVerdict:
    return judge_run(read_run(bundle.write(folder)), a_cell(Plan(), p_core=150.0))


def lying(rank: int = 1, **readings: Any) -> Bundle:
    bundle = build(Plan())
    bundle.one("clock_test", rank).update(readings)
    return bundle


@pytest.mark.parametrize(
    ("readings", "words"),
    [
        ({"timer_ns": [10 * MS] * 3}, "rank 1: clock test: the step timer saw 50% of the time that queued work took"),
        ({"timer_ns": [26 * MS] * 3}, "129%"),
        ({"timer_ns": [19 * MS, 1 * MS, 1 * MS]}, "5%"),  # one honest round of three
        ({"timer_ns": [0] * 3, "timer_wall_ns": [0] * 3}, "0%"),
        (
            {"synchronise_ns": [1 * MS] * 3, "after_ns": [19 * MS] * 3},
            "rank 1: clock test: 95% of the time that queued work took passed after synchronise had returned",
        ),
        ({"synchronise_ns": [0] * 3, "after_ns": [0] * 3}, "100%"),
        ({"steps_back": 2}, "rank 1: clock test: the host's clock went back 2 times"),
        ({"work_ns": [900_000] * 3}, "rank 1: clock test: found 0.900 ms of work, expected 1 ms or more"),
        ({"timer_wall_ns": [900_000] * 3, "timer_ns": [900_000] * 3}, "0.900 ms"),
    ],
)
def test_a_lie_is_invalid_and_named(readings: dict[str, Any], words: str, tmp_path: Path) -> None:
    verdict = judged(lying(**readings), tmp_path / "run")

    assert verdict.outcome == Verdict.INVALID
    assert any(reason.startswith("rank 1: clock test:") and words in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    "readings",
    [
        HONEST_CLOCK,
        {"timer_ns": [15_075_000] * 3},  # 75 %
        {"timer_ns": [25_125_000] * 3},  # 125 %
        {"synchronise_ns": [15 * MS] * 3, "after_ns": [5 * MS] * 3},
        {"work_ns": [1 * MS] * 3},
        {"timer_ns": [19 * MS, 19 * MS, 1 * MS]},  # one round of three was disturbed
    ],
)
def test_what_lies_within_the_tolerance_is_no_lie(readings: dict[str, Any], tmp_path: Path) -> None:
    assert judged(lying(**readings), tmp_path / "run").metrics["p_core"].verdict == "pass"


def test_a_rank_that_was_never_put_to_the_test_proves_nothing(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.drop("clock_test", rank=1)

    verdict = judged(bundle, tmp_path / "run")

    assert verdict.outcome == Verdict.INVALID
    assert "rank 1: found no 'clock_test' event" in verdict.reasons[0]


@pytest.mark.parametrize(
    "readings",
    [
        {"work_ns": []},
        {name: [] for name in ("work_ns", "synchronise_ns", "after_ns", "timer_ns", "timer_wall_ns")},
        {"work_ns": [1, 2]},
        {"after_ns": [0.5] * 3},
        {"timer_ns": "fast"},
        {"steps_back": None},
    ],
)
def test_readings_that_are_none_are_damage(readings: dict[str, Any], tmp_path: Path) -> None:
    verdict = judged(lying(**readings), tmp_path / "run")

    assert verdict.outcome == Verdict.INVALID
    assert any("clock_test:" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("elapsed_s", "utc_s", "words"),
    [
        (40.0, -3560.0, "the time of day moved by -3560 s in a run of 40 s"),
        (40.0, 46.0, "46 s"),
        (40_000.0, 39_599.0, "39599 s"),
        (8.0, 8.0, "rank 0:"),
        (10.0, 10.0, "rank 1: its clock says 17 s from start to end, expected at most the 10 s that the launch took"),
    ],
)
def test_clocks_that_disagree_are_named(elapsed_s: float, utc_s: float, words: str, tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.run["boot"].update(elapsed_s=elapsed_s, elapsed_utc_s=utc_s)

    verdict = judged(bundle, tmp_path / "run")

    assert verdict.outcome == Verdict.INVALID
    assert any(words in reason for reason in verdict.reasons), verdict.reasons


def test_a_simulated_clock_may_run_faster_than_the_launch_and_a_real_one_may_not(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.run["boot"].update(elapsed_s=8.0, elapsed_utc_s=8.0)
    bundle.one("start", 1)["clock"] = "simulated"

    found = clock_faults(read_run(bundle.write(tmp_path / "run")), a_cell(Plan()))

    assert found is not None
    assert [fault.partition(":")[0] for fault in found["clocks-agree"]] == ["rank 0"]


@pytest.mark.parametrize(("elapsed_s", "utc_s"), [(40.0, 44.9), (40.0, 35.1), (40_000.0, 40_400.0)])
def test_clocks_that_a_time_service_slews_agree(elapsed_s: float, utc_s: float, tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.run["boot"].update(elapsed_s=elapsed_s, elapsed_utc_s=utc_s)

    assert judged(bundle, tmp_path / "run").metrics["p_core"].verdict == "pass"


def test_a_clock_that_steps_back_between_two_events_is_damage(tmp_path: Path) -> None:
    bundle = build(replace(Plan()))
    for event in bundle.ranks[0][20:]:
        event["t_ns"] -= 10**9

    verdict = judged(bundle, tmp_path / "run")

    assert verdict.outcome == Verdict.INVALID
    assert any("the clock goes backwards" in reason for reason in verdict.reasons)


def test_each_check_of_the_clocks_says_what_it_found(tmp_path: Path) -> None:
    bundle = lying(timer_ns=[10 * MS] * 3, steps_back=2)
    bundle.run["boot"].update(elapsed_s=40.0, elapsed_utc_s=400.0)

    found = clock_faults(read_run(bundle.write(tmp_path / "run")), a_cell(Plan()))

    assert found is not None
    assert {name: len(texts) for name, texts in found.items()} == {
        "timer-sees-work": 1,
        "synchronise-waits": 0,
        "host-clock-monotonic": 1,
        "clocks-agree": 1,
    }
    assert "the step timer saw 50%" in found["timer-sees-work"][0]


def test_clocks_of_a_cell_are_tested_where_each_of_its_ranks_was(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.drop("clock_test", rank=0)

    assert clock_faults(read_run(bundle.write(tmp_path / "run")), a_cell(Plan())) is None


def test_a_rank_that_never_ended_has_no_time_to_compare(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.run["boot"].update(elapsed_s=8.0, elapsed_utc_s=8.0)
    bundle.drop("end", rank=0)

    reasons = judged(bundle, tmp_path / "run").reasons

    assert not any("rank 0: its clock says" in reason for reason in reasons)
    assert any("rank 1: its clock says" in reason for reason in reasons)
