"""Bounds of the one-step probe, and who and what is named: on evidence made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evidence.events.one_step import Gradient, OneStepDone
from evidence.verdict import Verdict
from tests.support import cell_of
from verdict.probes.one_step import (
    gradient_margin,
    judge_gradients,
    judge_replayed_step,
    judge_trajectory,
    one_step_line,
)
from verdict.probes.operators import judge_agreement

CELL = cell_of("r300", "1x1")


def gradient(parameter: str = "rpn.head.conv.weight", **fields: Any) -> Gradient:
    values: dict[str, Any] = {"dtype": "fp32", "elements": 2000, "worst": 1.0, "honest": 1.0}
    return Gradient(parameter, **{**values, "rmse": 1e-7, "honest_rmse": 1e-7, "rms": 1.0, "repeats": 1, **fields})


DONE = OneStepDone(
    *("fasterrcnn_tiny", (32, 32), "fp32", 10, 1.0, 1.0, "cache"),
    gradients=1,
    losses=(4.0, 3.0),
    expected=(4.0, 3.0),
    spread=(0.001, 0.001),
    t_ns=20,
)


def evidence(*ranks: list[Gradient], done: OneStepDone | None = DONE, **of_rank: OneStepDone) -> Any:
    starts = [
        (rank, SimpleNamespace(card=rank, host="a", device_name="R300", versions={}, backend="x", t_ns=5))
        for rank in range(len(ranks))
    ]
    found = [
        SimpleNamespace(
            rank=rank,
            gradients=tuple(mine),
            operators=(),
            one_step=of_rank.get(f"rank_{rank}", done),
            end="end",
            start=starts[rank][1],
        )
        for rank, mine in enumerate(ranks)
    ]
    return SimpleNamespace(ranks=found, starts=starts, path=Path("run"), run=SimpleNamespace(numerics="quick"))


@pytest.mark.parametrize(
    ("one", "margin"),
    [
        (gradient(worst=16.0), 1.0),
        (gradient(worst=16.0, honest=4.0), 0.5),
        (gradient(rmse=4e-6, honest_rmse=1e-6), 1.0),
        (gradient(rmse=2.0**-22, honest_rmse=0.0), 1.0),
        (gradient(rmse=1.0, elements=999), 1 / 16),
        (gradient(rmse=1e-9, honest_rmse=0.0, rms=0.0), math.inf),
        (gradient(worst=math.inf), math.inf),
    ],
)
def test_the_margin_is_the_error_over_the_worse_of_both_bounds(one: Gradient, margin: float) -> None:
    assert gradient_margin(one) == pytest.approx(margin)


class TestGradients:
    def test_within_their_bounds_they_pass_and_the_nearest_is_named(self) -> None:
        found = judge_gradients(evidence([gradient("a", worst=4.0), gradient("b", worst=8.0)]))

        assert (found.verdict, found.margin, found.facts["worst"], found.cases) == (Verdict.PASS, 0.5, "b", 2)

    def test_the_parameter_and_the_rank_are_named(self) -> None:
        right, wrong = gradient("a"), gradient("b", worst=99.0, at=7, found=2.0, expected=1.0)

        found = judge_gradients(evidence([right, gradient("b")], [right, wrong]))

        assert found.verdict is Verdict.FAIL
        assert found.reason.startswith("rank 1 (device 1 of a): b: found an error of 99 u max|g|")
        assert "element 7 is 2, expected 1" in found.reason

    def test_nan_fails_on_every_rank(self) -> None:
        found = judge_gradients(evidence(*[[gradient(worst=math.nan)]] * 2))

        assert found.verdict is Verdict.FAIL
        assert found.reason.startswith("every rank: ")

    def test_an_rmse_that_is_no_number_fails(self) -> None:
        found = judge_gradients(evidence([gradient(rmse=math.nan)]))

        assert found is not None
        assert found.verdict is Verdict.FAIL

    @pytest.mark.parametrize("wrong", [{"honest": math.inf}, {"honest": math.nan}, {"rms": math.inf}])
    def test_honest_arithmetic_without_a_finite_error_is_no_yardstick(self, wrong: dict[str, float]) -> None:
        found = judge_gradients(evidence([gradient(), gradient(parameter="other", **wrong)]))

        assert found is not None
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "no finite error" in found.reason

    def test_a_host_whose_fp32_is_none_is_no_yardstick(self) -> None:
        loose = {"honest": 900.0, "rmse": 1e-3, "honest_rmse": 1e-3}

        found, tf32 = (judge_gradients(evidence([gradient(dtype=one, **loose)])) for one in ("fp32", "tf32"))

        assert found.verdict is Verdict.INCONCLUSIVE
        assert "its products are not fp32" in found.reason
        assert tf32.verdict is Verdict.PASS


class TestTrajectory:
    @pytest.mark.parametrize(
        ("losses", "verdict"),
        [
            ((4.0, 3.0029), Verdict.PASS),
            ((4.0, 3.0031), Verdict.FAIL),
            ((4.0, 2.9969), Verdict.FAIL),
            ((math.nan, 3.0), Verdict.FAIL),
        ],
    )
    def test_the_band_is_three_spreads(self, losses: tuple[float, ...], verdict: Verdict) -> None:
        found = judge_trajectory(evidence([gradient()], done=replace(DONE, losses=losses)))

        assert found.verdict is verdict

    def test_without_a_spread_it_is_16_units_of_roundoff(self) -> None:
        done = replace(DONE, spread=(0.0, 0.0))
        near, far = (replace(done, losses=(4.0, 3.0 * (1 + count * 2.0**-24))) for count in (15, 17))

        found = [judge_trajectory(evidence([gradient()], done=one)) for one in (near, far)]

        assert [one.verdict for one in found if one is not None] == [Verdict.PASS, Verdict.FAIL]

    def test_the_first_step_out_of_its_band_and_the_rank_are_named(self) -> None:
        wrong = replace(DONE, losses=(4.1, 3.9))

        found = judge_trajectory(evidence([gradient()], [gradient()], rank_1=wrong))

        assert found.reason.startswith("rank 1 (device 1 of a): step 1: found a loss of 3.9")
        assert found.reason.endswith("from step 0 on")

    def test_a_band_as_wide_as_the_loss_says_nothing(self) -> None:
        found = judge_trajectory(evidence([gradient()], done=replace(DONE, spread=(0.001, 0.4))))

        assert found.verdict is Verdict.INCONCLUSIVE


class TestReplayedStep:
    def test_other_bits_fail_and_are_named(self) -> None:
        found = judge_replayed_step(evidence([gradient("a")], [gradient("a", unlike=1)]))

        assert found.verdict is Verdict.FAIL
        assert found.reason.startswith("rank 1 (device 1 of a): other bits in a; ")

    def test_where_they_may_vary_the_reason_is_given(self) -> None:
        found = judge_replayed_step(evidence([gradient("a"), gradient("b", unlike=1, may_vary="atomics")]))

        assert found.verdict is Verdict.PASS
        assert "1 of 2" in found.reason
        assert "atomics" in found.reason

    def test_where_all_may_vary_it_is_recorded(self) -> None:
        found = judge_replayed_step(evidence([gradient(may_vary="measured")]))

        assert found.verdict is Verdict.RECORDED


def test_the_odd_device_is_named_by_its_gradients() -> None:
    right, wrong = [gradient(digest="a")], [gradient(digest="b")]

    found = judge_agreement(evidence(right, right, wrong))

    assert found.verdict is Verdict.FAIL
    assert "rank 2 (device 2 of a): other bits than the others in gradient rpn.head.conv.weight" in found.reason


def test_gradients_of_other_decisions_are_not_compared() -> None:
    found = judge_agreement(evidence([gradient(digest="a", decisions="x")], [gradient(digest="b", decisions="y")]))

    assert found.verdict is Verdict.PASS


def test_a_device_without_an_answer_fails_every_question() -> None:
    failed = evidence([gradient()], [], rank_1=replace(DONE, gradients=0, error="roi_align is not implemented"))

    for judge in (judge_gradients, judge_trajectory, judge_replayed_step):
        found = judge(failed)
        assert found.verdict is Verdict.FAIL
        assert found.reason == "rank 1 (device 1 of a): no answer: roi_align is not implemented"


class TestLine:
    def test_it_says_how_near_the_bounds_are(self) -> None:
        line = one_step_line(evidence([gradient(worst=4.0)]), CELL)

        assert (line.verdict, line.measured) == (Verdict.PASS, "gradients at 25% of their bounds, loss at 0%")

    def test_a_run_without_the_probe_has_none(self) -> None:
        assert one_step_line(evidence([], done=None), CELL) is None

    def test_what_may_vary_everywhere_does_not_lower_it(self) -> None:
        line = one_step_line(evidence([gradient(may_vary="measured")]), CELL)

        assert line.verdict is Verdict.PASS
