"""A clock that lies makes the run invalid, and says how it lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.verdict import RunVerdict, Verdict
from expected import load_devices
from tests.support import ROOT
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

    assert {name: len(texts) for name, texts in found.items()} == {
        "timer-sees-work": 1,
        "synchronise-waits": 0,
        "windows-end-idle": 0,
        "events-agree": 0,
        "agent-agrees": 0,
        "host-clock-monotonic": 1,
        "clocks-agree": 1,
    }
    assert "the step timer saw 50%" in found["timer-sees-work"][0]


def test_a_synchronise_that_does_not_wait_is_named_with_what_is_not_known_of_it(tmp_path: Path) -> None:
    bundle = lying(synchronise_ns=[MS] * 3, after_ns=[19 * MS] * 3, note="xpu_synchronize takes no device")

    found = clock_faults(read_run(bundle.write(tmp_path / "run")), a_cell(Plan()))

    assert len(found["synchronise-waits"]) == 1
    assert found["synchronise-waits"][0].endswith("not wait for the device; xpu_synchronize takes no device")


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


# ---- in training ----

LONG = Plan(steps=1200)  # two epochs of 52 s, and their evaluations


def drift(bundle: Bundle, rank: int, factor: float = 1.0, late_ns: int = 0, unsure_ns: int = 0) -> Bundle:
    """The rank's clock runs `factor` times as fast as its agent's, whose last answer is `late_ns` early.

    The first answer took `unsure_ns`.
    """
    first, last = bundle.all("agent_clock", rank)
    first["asked_ns"] = first["t_ns"] - unsure_ns
    last["agent_ns"] = first["agent_ns"] + round((last["t_ns"] - first["t_ns"]) / factor) - late_ns
    return bundle


@pytest.mark.parametrize("factor", [0.8, 0.99, 1.01, 1.25])
def test_a_rank_whose_clock_is_not_its_agents_is_named(factor: float, tmp_path: Path) -> None:
    reasons = judged(drift(build(LONG), 1, factor), tmp_path / "run").reasons

    assert [reason.partition(":")[0] for reason in reasons] == ["rank 1"]
    assert "s of training where its agent's says" in reasons[0]


@pytest.mark.parametrize(
    ("plan", "changes"),
    [
        (LONG, {"factor": 1.004}),
        (LONG, {"factor": 0.996}),
        (Plan(), {"late_ns": 240 * MS}),  # the training takes 13 s
        (Plan(), {"late_ns": 200 * MS, "unsure_ns": 800 * MS}),  # the host was busy when the rank asked
    ],
)
def test_clocks_that_agree_as_far_as_can_be_known_are_believed(
    plan: Plan, changes: dict[str, Any], tmp_path: Path
) -> None:
    assert judged(drift(build(plan), 1, **changes), tmp_path / "run").metrics["p_core"].verdict == "pass"


def test_clocks_that_come_apart_in_the_middle_and_meet_again_are_named(tmp_path: Path) -> None:
    bundle = build(LONG)
    events = bundle.ranks[0]
    begun, at = bundle.all("agent_clock")[0], events.index(bundle.all("epoch_begin")[1])
    t_ns = events[at]["t_ns"]
    agent_ns = begun["agent_ns"] + t_ns - begun["t_ns"] + 10**9
    events.insert(at, {"event": "agent_clock", "t_ns": t_ns, "asked_ns": t_ns - 9, "agent_ns": agent_ns})

    (reason,) = judged(bundle, tmp_path / "run").reasons

    assert reason.startswith("rank 0: its clock says")


@pytest.mark.parametrize("left", [0, 1])
def test_a_rank_that_never_read_its_agents_clock_proves_nothing(left: int, tmp_path: Path) -> None:
    bundle = build(Plan())
    for reading in bundle.all("agent_clock", 1)[left:]:
        bundle.ranks[1].remove(reading)

    reasons = judged(bundle, tmp_path / "run").reasons

    assert reasons[0].startswith(
        f"rank 1: found {left} readings of its agent's clock, expected one before training and"
    )


def test_readings_that_both_lie_before_training_do_not_frame_it(tmp_path: Path) -> None:
    bundle = build(Plan())
    first, last = bundle.all("agent_clock", 1)
    bundle.ranks[1].remove(last)
    bundle.ranks[1].insert(bundle.ranks[1].index(first), {**first})

    assert "expected one before training and one after it" in judged(bundle, tmp_path / "run").reasons[0]


def test_a_short_training_is_told_to_show_little_and_a_long_one_is_not(tmp_path: Path) -> None:
    short, long = (judged(build(plan), tmp_path / str(plan.steps)).notes for plan in (Plan(), LONG))

    assert short == (
        "the clocks of ranks and agents were compared over 13.4 s, in which a difference of less than 1.9% cannot be "
        "seen",
    )
    assert long == ()


@pytest.mark.parametrize(
    ("readings", "words"),
    [
        ({"timer_ns": [10 * MS] * 3}, "the step timer saw 50% of the time"),
        ({"synchronise_ns": [1 * MS] * 3, "after_ns": [19 * MS] * 3}, "95% of the time that queued work took passed"),
    ],
)
def test_a_clock_that_lies_when_it_is_tested_again_is_named_with_the_step(
    readings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    bundle = build(Plan())
    bundle.one("clock_retest", 1).update(readings)

    (reason,) = judged(bundle, tmp_path / "run").reasons

    assert reason.startswith("rank 1: clock test before step 10:")
    assert words in reason


def test_a_timer_that_was_not_tested_again_proves_nothing(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.drop("clock_retest", 1)

    assert judged(bundle, tmp_path / "run").reasons == (
        "rank 1: found no 'clock_retest' event, expected one or more: its timer was not put to the test in training",
    )


@pytest.mark.parametrize(("read_ms", "lies"), [(9.9, False), (10.1, True), (390.0, True)])
def test_a_window_after_which_the_device_still_works_is_a_lie(read_ms: float, lies: bool, tmp_path: Path) -> None:
    bundle = build(Plan())
    for window in bundle.all("window", 1):
        window["read_ns"] = int(read_ms * MS)

    found = clock_faults(read_run(bundle.write(tmp_path / "run")), a_cell(Plan())) or {}

    says = [text.partition(" took")[0] for text in found["windows-end-idle"]]
    assert says == ["rank 1: reading the last loss of a window"] * lies


def test_some_windows_after_which_reading_took_long_are_a_busy_host(tmp_path: Path) -> None:
    bundle = build(Plan())
    for window in bundle.all("window", 1)[::3]:
        window["read_ns"] = 300 * MS

    assert judged(bundle, tmp_path / "run").metrics["p_core"].verdict == "pass"


@pytest.mark.parametrize(
    ("factor", "lies"), [(1.0, False), (0.991, False), (1.009, False), (0.985, True), (1.015, True)]
)
def test_events_that_do_not_keep_the_hosts_time_are_a_lie(factor: float, lies: bool, tmp_path: Path) -> None:
    bundle = build(Plan())
    for window in bundle.all("window", 1)[4::5]:
        window.update(span_ns=2_200 * MS, span_device_ns=round(2_200 * MS * factor))

    found = clock_faults(read_run(bundle.write(tmp_path / "run")), a_cell(Plan())) or {}

    assert [text.partition(" saw")[0] for text in found["events-agree"]] == ["rank 1: the device's events"] * lies


def test_a_training_without_two_seconds_of_steps_between_events_is_told(tmp_path: Path) -> None:
    bundle = build(Plan())
    for rank in bundle.ranks:
        bundle.one("start", rank)["timing"] = "device_events"

    assert "training was too short to hold the device's events against the host's clock: two seconds of steps" in (
        judged(bundle, tmp_path / "run").notes
    )


def test_evidence_of_schema_2_is_judged_without_these_readings_and_that_is_told() -> None:
    evidence = read_run(ROOT / "tests" / "stored" / "virtual-1x2")
    device = load_devices()["virtual"]
    cell = next(cell for cell in device.cells if str(cell.topology) == "1x2")

    verdict = judge_run(evidence, cell)

    assert verdict.outcome == "pass"
    assert verdict.notes == (
        "evidence of schema 2 has no readings of the clocks in training: that they were right in it is not shown",
    )
