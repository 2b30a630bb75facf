"""Runs in which nothing was trained, or not alike on all ranks, are invalid; sound ones of any kind are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from evidence.bundle import read_run
from expected import Topology
from tests.verdict.bundles import STEADY, Bundle, Plan, a_cell, build
from verdict.checks.invariants import CHECKS, Case, violations
from verdict.metrics.measure import measure

FULL = Plan()
AMP = {"loss_scale": 65536.0}


def found_by(check: str, bundle: Bundle, plan: Plan, folder: Path) -> tuple[str, ...]:
    """What the check says; nobody else may say more than it does."""
    evidence = read_run(bundle.write(folder / "run"))
    case = Case(evidence, a_cell(plan), measure(evidence), plan.backend)
    assert evidence.problems == ()
    found = tuple(CHECKS[check].find(case))
    assert set(violations(evidence, case.cell, case.measurements, backend=plan.backend)) == set(found)
    return found


def every(event: str, bundle: Bundle, change: Callable[[dict[str, Any]], Any], ranks: Any = None) -> None:
    for rank in bundle.ranks if ranks is None else ranks:
        for one in bundle.all(event, rank):
            change(one)


def _one_kind(bundle: Bundle) -> None:
    every("parameters", bundle, lambda one: one.update(sha256="a" * 64, moved=0, unmoved=["a", "b", "c", "d"]))


def _differ_from_the_first_checkpoint_on(bundle: Bundle) -> None:
    for one in bundle.all("parameters", 1)[1:]:
        one["sha256"] = "f" + one["sha256"][1:]


def _one_tensor_stays(bundle: Bundle) -> None:
    bundle.all("parameters", 1)[-1].update(moved=59, unmoved=["rpn.head.conv.weight"])


def _changed_without_a_step(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.all("parameters", rank)[-1]["sha256"] = "e" * 64


def _backward_is_left_out(bundle: Bundle) -> None:
    every("window", bundle, lambda one: one.update(backward_steps=len(one["images"]) - 1), ranks=[1])


def _with_forward_share(bundle: Bundle, share: float) -> None:
    every("window", bundle, lambda one: one.update(forward_ns=int(share * sum(one["compute_ns"]))), ranks=[0])


def _almost_all_is_forward(bundle: Bundle) -> None:
    _with_forward_share(bundle, 0.97)


def _loss_rises(bundle: Bundle) -> None:
    every("window", bundle, lambda one: one.update(loss=[4 - loss for loss in one["loss"]]), ranks=[1])


FAULTS: list[tuple[str, str, Callable[[Bundle], Any]]] = [
    (
        "parameters-move",
        "rank 0: the parameters after step 120 are those after step 0 to the last bit, expected them to change",
        _one_kind,
    ),
    (
        "parameters-move",
        "rank 1: found 1 of 60 trained tensors as they were before training (rpn.head.conv.weight), expected every",
        _one_tensor_stays,
    ),
    (
        "parameters-move",
        "rank 1: window of step 230: found the parameters as they were before its 10 steps, expected them to change",
        lambda b: b.all("window", 1)[23].update(moved=0),
    ),
    ("parameters-move", "rank 0: the parameters after step 240 are of two kinds", _changed_without_a_step),
    ("parameters-move", "rank 1: found 0 'parameters' events, expected one", lambda b: b.drop("parameters", 1)),
    (
        "parameters-move",
        "rank 0: found parameters of steps 7 to 240, expected 0 to 240",
        lambda b: [b.one("parameters", rank).update(steps=7) for rank in b.ranks],
    ),
    (
        "parameters-equal",
        "rank 1: the parameters after step 120 are not those of rank 0, expected the same to the last bit",
        _differ_from_the_first_checkpoint_on,
    ),
    (
        "parameters-equal",
        "rank 1: found parameters of other steps than on rank 0",
        lambda b: b.ranks[1].remove(b.all("parameters", 1)[1]),
    ),
    ("gradients", "rank 1: window of step 0: found gradients in 9 of 10 steps", _backward_is_left_out),
    (
        "gradients",
        "rank 0: window of step 0: found gradients in 0 of 10 steps",
        lambda b: [one.pop("backward_steps") for one in b.all("window")],
    ),
    (
        "gradients",
        "rank 0: window of step 20: found gradients of norm 0.0, expected a finite one above 0",
        lambda b: b.all("window")[2].update(gradient_norm=0.0),
    ),
    (
        "gradients",
        "rank 0: window of step 20: found gradients of norm nan",
        lambda b: b.all("window")[2].update(gradient_norm="NaN"),
    ),
    (
        "gradients",
        "rank 1: windows of step 30 and after: found gradients of norm 0.25 in 3 windows in a row",
        lambda b: [one.update(gradient_norm=0.25) for one in b.all("window", 1)[3:6]],
    ),
    (
        "backward-share",
        "rank 0: found 3.0% of the compute time after the forward pass, expected at least 5%",
        _almost_all_is_forward,
    ),
    ("loss-falls", "rank 1: the loss went from 1.92 at the beginning to 1.996 at the end of 240 steps", _loss_rises),
    (
        "loss-scale",
        "rank 0: window of step 50: found loss scale 0.5, expected 1 or more: gradients overflow at any scale, and 3",
        lambda b: b.all("window")[5].update(loss_scale=0.5, skipped=[1, 2, 9]),
    ),
    (
        "loss-scale",
        "rank 0: window of step 50: found all of its 10 steps skipped, expected some that change the weights",
        lambda b: b.all("window")[5].update(loss_scale=64.0, skipped=list(range(10))),
    ),
]


@pytest.mark.parametrize(
    ("check", "says", "break_it"), FAULTS, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_a_run_that_trained_nothing_is_invalid_and_says_what_is_missing(
    check: str, says: str, break_it: Callable[[Bundle], Any], tmp_path: Path
) -> None:
    bundle = build(FULL)
    break_it(bundle)

    found = found_by(check, bundle, FULL, tmp_path)

    assert found
    assert found[0].startswith(says), found


@pytest.mark.parametrize(
    "change",
    [
        # The first steps of amp are skipped until the scale fits; their gradients are not finite.
        lambda one: one["step"] == 0 and one.update(skipped=[0, 9], gradient_norm="Infinity", **AMP),
        lambda one: one.update(loss_scale=1.0),
        lambda one: one.pop("moved"),
        lambda one: one["step"] in (20, 40) and one.update(gradient_norm=0.5),
    ],
)
def test_what_sound_runs_do_is_no_violation(change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    bundle = build(FULL)
    every("window", bundle, change)

    assert [found_by(check, bundle, FULL, tmp_path) for check in ("gradients", "parameters-move")] == [()] * 2


def test_a_run_of_two_steps_need_not_have_moved_everything_nor_have_a_lower_loss(tmp_path: Path) -> None:
    plan = replace(STEADY, steps=2, warmup=0)
    bundle = build(plan)
    _one_tensor_stays(bundle)
    _loss_rises(bundle)

    assert found_by("parameters-move", bundle, plan, tmp_path) == ()


def test_a_resumed_run_need_not_have_a_lower_loss(tmp_path: Path) -> None:
    plan = Plan(restarts=1, resumed=(1, 10))
    bundle = build(plan)
    _loss_rises(bundle)

    assert found_by("loss-falls", bundle, plan, tmp_path) == ()


def test_a_run_that_resumed_with_nothing_left_to_train_is_sound(tmp_path: Path) -> None:
    plan = Plan(restarts=1, resumed=(1, 120))

    assert found_by("parameters-move", build(plan), plan, tmp_path) == ()


# Of a device that computes all the time, and of one that waits for a slow host's launches (LEAST_BACKWARD).
@pytest.mark.parametrize("forward", [1 / 2.8, 0.80, 1 - 252 / (761 + 172 * 16 + 252)])
def test_a_forward_pass_that_waits_for_the_host_is_no_missing_backward_pass(forward: float, tmp_path: Path) -> None:
    bundle = build(FULL)
    _with_forward_share(bundle, forward)

    assert found_by("backward-share", bundle, FULL, tmp_path) == ()


def test_a_stall_within_one_forward_pass_is_no_missing_backward_pass(tmp_path: Path) -> None:
    bundle = build(FULL)
    every("window", bundle, lambda one: one["step"] == 30 and one.update(forward_ns=sum(one["compute_ns"])))

    assert found_by("backward-share", bundle, FULL, tmp_path) == ()


def test_by_windows_the_forward_share_is_the_hosts_and_says_nothing(tmp_path: Path) -> None:
    bundle = build(FULL)
    _almost_all_is_forward(bundle)
    every("start", bundle, lambda one: one.update(timing="synchronised_windows"))

    assert found_by("backward-share", bundle, FULL, tmp_path) == ()


def test_a_run_of_schema_2_has_no_such_evidence_and_is_read_without(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.run["schema"] = 2
    for rank in bundle.ranks:
        bundle.one("start", rank)["schema"] = 2
        bundle.drop("parameters", rank)
        bundle.drop("pass", rank)
    every("window", bundle, lambda one: [one.pop(name) for name in ("backward_steps", "gradient_norm", "skipped")])

    assert found_by("parameters-move", bundle, FULL, tmp_path) == ()


def test_a_rank_cannot_leave_the_evidence_out_by_calling_itself_older(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.one("start", 1)["schema"] = 2

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert "rank 1: found schema 2, expected 3" in violations(evidence, a_cell(FULL), measure(evidence))


def test_images_of_skipped_steps_count_for_no_rate(tmp_path: Path) -> None:
    bundle = build(FULL)
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window.update(skipped=[0], **AMP)

    sound, skipping = (measure(read_run(one.write(tmp_path / name))) for name, one in _pair(bundle))

    for name in ("p_whole", "p_train", "p_core", "p_core_host"):
        assert skipping[name].value == pytest.approx(sound[name].value * 0.9, rel=0.02)


def _pair(bundle: Bundle) -> list[tuple[str, Bundle]]:
    return [("sound", build(FULL)), ("skipping", bundle)]


def test_ranks_of_one_host_and_of_two_are_compared(tmp_path: Path) -> None:
    plan = Plan(topology=Topology(2, 2))
    bundle = build(plan)
    for one in bundle.all("parameters", 3)[2:]:
        one["sha256"] = "c" * 64

    (found,) = found_by("parameters-equal", bundle, plan, tmp_path)

    assert found.startswith("rank 3: the parameters after step 240")
    assert "the ranks do not exchange their gradients, or the optimizer rounds differently on node1 and node0" in found


def test_ranks_of_one_host_have_no_other_reason_to_differ(tmp_path: Path) -> None:
    plan = Plan(topology=Topology(1, 2))
    bundle = build(plan)
    for one in bundle.all("parameters", 1)[2:]:
        one["sha256"] = "c" * 64

    (found,) = found_by("parameters-equal", bundle, plan, tmp_path)

    assert found.endswith(": the ranks do not exchange their gradients")
