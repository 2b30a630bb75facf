"""A restarted run is judged on its last attempt, which has to go on where the one before broke off, and says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.verdict import RunVerdict, Verdict
from expected import Expectation
from tests.verdict.bundles import EPOCH, STEADY, Bundle, Plan, a_cell, build
from verdict.judge import judge_run
from verdict.wording import times

BROKEN = Plan(restarts=1, resumed=(1, 40))
"""Broken off in the second of two epochs of 120 steps."""
OWED = replace(BROKEN, resumed=(1, 120))
"""Broken off in the evaluation of the last epoch."""


def judged(plan: Plan, folder: Path, bundle: Bundle | None = None, **published: Any) -> RunVerdict:
    run_dir = (bundle or build(plan)).write(folder / "run")
    return judge_run(read_run(run_dir), a_cell(plan, **published), backend=plan.backend)


def reasons(plan: Plan, folder: Path, bundle: Bundle) -> str:
    verdict = judged(plan, folder, bundle)
    assert verdict.outcome == Verdict.INVALID
    return "\n".join(verdict.reasons)


@pytest.mark.parametrize(
    "resumed",
    [None, (0, 10), (0, 120), (1, 0), (1, 40)],
    ids=["from the beginning", "within the first epoch", "before its evaluation", "between epochs", "within the last"],
)
def test_the_last_attempt_is_judged_wherever_it_went_on(tmp_path: Path, resumed: Any) -> None:
    plan = replace(BROKEN, resumed=resumed)

    verdict = judged(plan, tmp_path, p_core=150.0, p_train=150.0, map=0.37, mem=24.0)

    assert {name: metric.verdict for name, metric in verdict.metrics.items()} == {
        "e2e_time": Verdict.MISSING,
        "p_whole": Verdict.MISSING,
        "p_train": Verdict.PASS,
        "p_core": Verdict.PASS,
        "map": Verdict.PASS,
        "mem": Verdict.PASS,
    }
    assert verdict.restarts == 1


def test_what_needs_the_whole_run_says_why_it_is_missing(tmp_path: Path) -> None:
    verdict = judged(replace(BROKEN, restarts=2), tmp_path, e2e_time=1000.0)

    for name in ("e2e_time", "p_whole"):
        assert verdict.metrics[name].measured is None
        assert verdict.metrics[name].reason == (
            f"{name} is not measured: the run was restarted twice: run: rank 1 ended; run: rank 1 ended"
        )


def test_an_attempt_with_nothing_left_to_train_shows_the_map_alone(tmp_path: Path) -> None:
    verdict = judged(OWED, tmp_path, map=0.37, mem=24.0)

    assert {name for name, metric in verdict.metrics.items() if metric.verdict == Verdict.PASS} == {"map"}
    assert {metric.verdict for metric in verdict.metrics.values()} == {Verdict.PASS, Verdict.MISSING}
    assert verdict.metrics["mem"].reason.endswith("rank 1 ended; the last attempt had nothing left to train")


@pytest.mark.parametrize("plan", [EPOCH, STEADY], ids=lambda plan: plan.protocol)
def test_other_protocols_are_restarted_too(tmp_path: Path, plan: Plan) -> None:
    resumed = None if plan.protocol == "steady" else (0, 20)

    verdict = judged(replace(plan, restarts=1, resumed=resumed), tmp_path, p_core=Expectation("accepted", 150.0, 142.5))

    assert verdict.metrics["p_core"].verdict == Verdict.PASS
    assert verdict.restarts == 1


def test_an_unbroken_run_has_no_restarts(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.run["restarts"] = []

    assert judged(Plan(), tmp_path / "a").restarts == judged(Plan(), tmp_path / "b", bundle).restarts == 0


@pytest.mark.parametrize("restarts", ["once", [{"phase": "run"}], [1], 1])
def test_restarts_that_cannot_be_read_are_damage(tmp_path: Path, restarts: Any) -> None:
    bundle = build(Plan())
    bundle.run["restarts"] = restarts

    assert "restarts" in reasons(Plan(), tmp_path, bundle)


@pytest.mark.parametrize(("found", "restarts"), [(0, 1), (1, 2), (1, 0), (None, 1)])
def test_files_of_another_attempt_are_no_evidence_of_the_last(tmp_path: Path, found: Any, restarts: int) -> None:
    plan = replace(BROKEN, restarts=restarts, resumed=None)
    bundle = build(plan)
    bundle.one("start", rank=1)["attempt"] = found

    said = reasons(plan, tmp_path, bundle)

    assert f"rank 1: found attempt {found or 0}, expected {restarts}" in said
    assert "rank 0: found attempt" not in said


def test_a_run_from_before_there_were_attempts_is_its_first(tmp_path: Path) -> None:
    bundle = build(Plan())
    for rank in bundle.ranks:
        del bundle.one("start", rank)["attempt"]

    assert judged(Plan(), tmp_path, bundle).outcome != Verdict.INVALID


def test_an_unbroken_run_resumes_nothing(tmp_path: Path) -> None:
    plan = replace(BROKEN, restarts=0)

    assert "rank 0: found a 'resumed' event, expected none in this run" in reasons(plan, tmp_path, build(plan))


def test_a_steady_run_resumes_nothing(tmp_path: Path) -> None:
    plan = replace(STEADY, restarts=1, resumed=(0, 0))

    assert "rank 0: found a 'resumed' event, expected none in this run" in reasons(plan, tmp_path, build(plan))


def test_all_ranks_go_on_from_one_place(tmp_path: Path) -> None:
    bundle = build(BROKEN)
    bundle.ranks[1] = build(replace(BROKEN, resumed=(1, 30))).ranks[1]

    said = reasons(BROKEN, tmp_path, bundle)

    assert "rank 1: went on from step 30 of epoch 2, 90 left, expected step 40 of epoch 2, 80 left as on rank 0" in said


@pytest.mark.parametrize("shift", [-10, 10])
def test_the_first_step_is_the_one_after_the_checkpoint(tmp_path: Path, shift: int) -> None:
    bundle = build(BROKEN)
    for window in bundle.all("window"):
        window["step"] += shift

    assert f"rank 0: found step {160 + shift} as the first, expected step 160" in reasons(BROKEN, tmp_path, bundle)


def test_an_attempt_from_the_beginning_takes_the_first_step_too(tmp_path: Path) -> None:
    plan = replace(BROKEN, resumed=None)
    bundle = build(plan)
    for window in bundle.all("window"):
        window["step"] += 10

    assert "rank 0: found step 10 as the first, expected step 0" in reasons(plan, tmp_path, bundle)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"first_step": 40}, "found step 40 of epoch 2, 80 left as step 40 of the run"),
        ({"steps_left": 70}, "epoch 2: found 80 steps, expected the 70 left"),
        ({"steps_left": 90}, "epoch 2: found 80 steps, expected the 90 left"),
        ({"epoch": -1, "first_step": -80}, "found step 40 of epoch 0, 80 left as step -80 of the run"),
    ],
)
def test_a_place_that_does_not_add_up_is_named(tmp_path: Path, change: dict[str, int], says: str) -> None:
    bundle = build(BROKEN)
    for rank in bundle.ranks:
        bundle.one("resumed", rank).update(change)

    assert says in reasons(BROKEN, tmp_path, bundle)


@pytest.mark.parametrize("cut", [-10, 10])
def test_the_epochs_after_the_broken_one_have_all_their_steps(tmp_path: Path, cut: int) -> None:
    plan = replace(BROKEN, resumed=(0, 40))
    bundle = build(plan)
    for rank in bundle.ranks:
        bundle.one("resumed", rank).update(steps_left=80 - cut)

    assert f"epoch 2: found 120 steps, expected the {120 - cut} left" in reasons(plan, tmp_path, bundle)


def test_an_epoch_that_was_left_has_to_be_trained(tmp_path: Path) -> None:
    bundle = build(BROKEN)
    for rank in bundle.ranks:
        for event in ("epoch_begin", "epoch_end", "window"):
            bundle.drop(event, rank)
        bundle.one("train_end", rank).update(steps=0, images=0)

    said = reasons(BROKEN, tmp_path, bundle)

    assert "rank 0: found the epochs [] completed, expected 2 and those after it" in said
    assert "rank 0: found no optimizer step" in said


def test_the_evaluation_that_was_owed_has_to_be_made(tmp_path: Path) -> None:
    plan = replace(BROKEN, resumed=(0, 120))
    bundle = build(plan)
    events = bundle.ranks[0]
    begin = next(at for at, event in enumerate(events) if event["event"] == "eval_begin")
    assert events[begin]["epoch"] == events[begin + 1]["epoch"] == 0
    del events[begin : begin + 2]

    assert "rank 0: found evaluations after epochs [2], expected [1, 2]" in reasons(plan, tmp_path, bundle)


def test_a_restarted_run_may_not_go_beyond_the_last_epoch(tmp_path: Path) -> None:
    plan = replace(BROKEN, maps=(0.1,) * 5, resumed=(3, 0))

    said = reasons(plan, tmp_path, build(plan))

    assert "rank 0: found the epochs [4, 5] completed, expected 4 and those after it, up to 4 epochs" in said


def test_a_restarted_run_ends_with_the_last_epoch(tmp_path: Path) -> None:
    plan = replace(BROKEN, maps=(0.1,) * 4, resumed=(2, 60))

    whole = judged(plan, tmp_path / "whole")
    cut = reasons(plan, tmp_path / "cut", build(replace(plan, maps=(0.1,) * 3)))

    assert whole.outcome != Verdict.INVALID
    assert "rank 0: ended after the last epoch with 3 epochs, expected 4" in cut


def test_restarts_are_counted_in_words() -> None:
    assert [times(count) for count in (1, 2, 3)] == ["once", "twice", "3 times"]
