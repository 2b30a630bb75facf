"""Bounds of the operators probe, and who is named: on evidence made by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evidence.events.operators import OperatorAnswer
from evidence.verdict import Verdict
from verdict.probes.operators import judge_agreement, judge_operators, judge_repeats


def answer(rule: str = "sums", **fields: Any) -> OperatorAnswer:
    values: dict[str, Any] = {"operator": "conv2d", "direction": "wgrad", "dtype": "fp32", "size": {"n": 2}}
    return OperatorAnswer(**{**values, "rule": rule, "elements": 2000, **fields})


@pytest.mark.parametrize(
    ("one", "margin"),
    [
        (answer(worst=16.0), 1.0),
        (answer(worst=16.0, honest=4.0), 0.5),
        (answer(worst=8.0, honest=1.0), 0.5),
        (answer(rmse=2e-7, honest_rmse=1e-7), 1.0),
        (answer(rmse=3e-3, honest_rmse=1e-3, dtype="bf16"), 1.0),
        (answer(rmse=2.0 * 2.0**-24, rms=1.0), 1.0),
        (answer(rmse=9.0, honest_rmse=1e-7, elements=999), 0.0),
        (answer(rmse=3e-7, honest_rmse=1e-7, sampled=200, sums=64), 1.0),
        (answer(rmse=2e-7, honest_rmse=1e-7, sampled=200, sums=6400), 1.0),
        (answer(rmse=1e-9), math.inf),
        (answer("ulp", worst=4.0, honest=1.0), 1.0),
        (answer("ulp", worst=6.0, honest=3.0), 1.0),
        (answer("exact"), 0.0),
        (answer("exact", worst=1.0), math.inf),
        (answer("special", worst=1.0), math.inf),
        (answer("valid", worst=1.0), math.inf),
        (answer("watched", worst=1.0), 0.0),
        (answer("bits", worst=13.0), 13.0),
        (answer("bits", worst=13.0, dtype="tf32"), 13 / 14),
        (answer(error="not implemented"), math.inf),
    ],
)
def test_the_margin_is_the_error_over_the_bound_of_its_rule(one: OperatorAnswer, margin: float) -> None:
    assert one.margin == pytest.approx(margin)


@pytest.mark.parametrize("wrong", [{"rmse": math.nan}, {"honest_rmse": math.nan, "rmse": 1e-7}, {"worst": math.nan}])
def test_what_is_no_number_is_refused_beside_any_other(wrong: dict[str, float]) -> None:
    assert math.isnan(answer(**{"worst": 1.0, "rms": 1.0, **wrong}).margin)


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (answer(worst=9.0, rmse=1e-3, honest=9.0, honest_rmse=1e-3, rms=1.0), Verdict.INCONCLUSIVE),
        (answer(worst=9.0, rmse=1e-4, honest=9.0, honest_rmse=1e-4, rms=1.0), Verdict.PASS),
        (answer(worst=9.0, honest=9.0, honest_rmse=1e-3, rms=1.0, elements=999), Verdict.PASS),
        (answer(worst=9.0, rmse=1e-3, honest=9.0, honest_rmse=1e-3, rms=1.0, dtype="bf16"), Verdict.PASS),
        (answer(worst=9.0, honest=math.inf, elements=9), Verdict.INCONCLUSIVE),
        (answer("ulp", worst=9.0, honest=math.inf), Verdict.INCONCLUSIVE),
        (answer(worst=9.0, honest_rmse=math.inf, rms=math.inf), Verdict.INCONCLUSIVE),
        (answer(), Verdict.PASS),
        (answer("exact", honest=math.inf), Verdict.PASS),
        (answer(worst=99.0, rmse=1e-3, honest=9.0, honest_rmse=1e-3, rms=1.0), Verdict.FAIL),
    ],
)
def test_a_host_whose_own_arithmetic_is_far_off_is_no_yardstick(one: OperatorAnswer, verdict: Verdict) -> None:
    found = judge_operators(evidence([answer(), one]))[one.question]

    assert found.verdict is verdict
    assert ("no yardstick" in found.reason) == (verdict is Verdict.INCONCLUSIVE)


def evidence(*ranks: list[OperatorAnswer], unasked: Any = None, **start: Any) -> Any:
    known = {"device_name": "R300", "versions": {"torch": "1.12.1"}, "backend": "kunlunxin", "host": "a", **start}
    starts = [(rank, SimpleNamespace(**{**known, "card": rank})) for rank in range(len(ranks))]
    found = [
        SimpleNamespace(
            rank=rank,
            operators=tuple(mine),
            gradients=(),
            operators_done=SimpleNamespace(unasked=unasked or {}),
        )
        for rank, mine in enumerate(ranks)
    ]
    return SimpleNamespace(ranks=found, starts=starts, path=Path("run"))


def test_the_worst_size_and_the_rank_that_gave_it_are_named() -> None:
    found = judge_operators(
        evidence([answer(worst=3.0)], [answer(worst=2.0), answer(worst=40.0, size={"n": 9}, at=5, found=1.5)])
    )

    verdict = found["conv2d-wgrad-fp32"]
    assert verdict.verdict is Verdict.FAIL
    assert (verdict.rank, verdict.cases, verdict.worst.size if verdict.worst else None) == (1, 3, {"n": 9})
    assert "rank 1 (device 1 of a)" in verdict.reason
    assert "n9" in verdict.reason
    assert "rank 0" not in verdict.reason


def test_a_fault_of_all_is_of_every_rank() -> None:
    wrong = [answer(worst=math.nan)]

    assert "every rank" in judge_operators(evidence(wrong, wrong))["conv2d-wgrad-fp32"].reason


def test_within_the_bound_it_passes() -> None:
    verdict = judge_operators(evidence([answer(worst=3.0)]))["conv2d-wgrad-fp32"]

    assert (verdict.verdict, verdict.margin) == (Verdict.PASS, 3 / 16)


def test_the_device_is_named_in_words_for_the_gates_line() -> None:
    right, wrong = [answer(worst=3.0)], [answer(worst=40.0)]

    def place(*ranks: list[OperatorAnswer]) -> str:
        return judge_operators(evidence(*ranks))["conv2d-wgrad-fp32"].place

    assert place(right, wrong) == "on device 1"
    assert place(right, wrong, wrong) == "on device 1 and device 2"
    assert place(wrong, wrong) == "on every device"
    assert place(right, right) == ""


def test_a_question_of_which_cases_are_left_is_missing_unless_it_fails() -> None:
    left = {"conv2d-wgrad-fp32": 7}

    asked = judge_operators(evidence([answer(worst=3.0)], unasked=left))["conv2d-wgrad-fp32"]
    failed = judge_operators(evidence([answer(worst=40.0)], unasked=left))["conv2d-wgrad-fp32"]

    assert asked.verdict is Verdict.MISSING
    assert "7 cases not asked on rank 0 (device 0 of a)" in asked.reason
    assert failed.verdict is Verdict.FAIL


def test_a_sum_over_channels_is_named_as_such() -> None:
    one = answer(worst=40.0, in_sums=True, at=7, channels=64, sampled=128, sums=500, rmse=1.0, honest_rmse=1.0)

    assert "signed sum 7 over 64 channels / 8" in judge_operators(evidence([one]))["conv2d-wgrad-fp32"].reason


class TestAgreement:
    def test_the_odd_device_is_named(self) -> None:
        right, wrong = [answer(digest="a")], [answer(digest="b")]

        found = judge_agreement(evidence(right, right, wrong, right))

        assert found.verdict is Verdict.FAIL
        assert "rank 2 (device 2 of a)" in found.reason
        assert "rank 1" not in found.reason

    def test_of_two_that_differ_both_are_named(self) -> None:
        found = judge_agreement(evidence([answer(digest="a")], [answer(digest="b")]))

        assert found.verdict is Verdict.FAIL
        assert "rank 0" in found.reason
        assert "rank 1" in found.reason

    def test_what_may_vary_does_not_count(self) -> None:
        ranks = [[answer(digest=one, may_vary="atomics")] for one in "ab"]

        found = judge_agreement(evidence(*ranks))

        assert found.verdict is Verdict.PASS

    def test_one_rank_has_none_to_agree_with(self) -> None:
        assert judge_agreement(evidence([answer(digest="a")])) is None


class TestRepeats:
    def test_other_bits_fail_and_are_counted(self) -> None:
        found = judge_repeats(evidence([answer(repeats=20)], [answer(repeats=20, unlike=3)]))

        assert found.verdict is Verdict.FAIL
        assert "conv2d-wgrad-fp32 on rank 1 (device 1 of a): 3 of 20 times" in found.reason

    def test_where_they_may_vary_the_reason_is_given(self) -> None:
        found = judge_repeats(evidence([answer(repeats=20, unlike=3, may_vary="atomics")]))

        assert found.verdict is Verdict.PASS
        assert "conv2d-wgrad-fp32 (atomics)" in found.facts["note"]

    def test_nothing_repeated_is_no_verdict(self) -> None:
        assert judge_repeats(evidence([answer()])) is None
