"""Judges what a device computed: an answer's error against the bound of its rule.

Bounds: docs/numerics.md. The first rule of sums finds one wrong element, the second one a precision that is too low
everywhere; both are relative to the worst of three honest orders of summation, as a device may sum in any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterable, Mapping

from evidence.bundle import Evidence
from evidence.events import Start
from evidence.numerics import EXACT, SUMS, ULP, UNIT_ROUNDOFF, OperatorAnswer
from evidence.verdict import Verdict

LEAST_SUM, HONEST_SUMS = 16.0, 8.0
"""A sum may be off by 16 u S, or by 8 times what the worst honest order of summation is."""
LEAST_ULP, HONEST_ULP = 4.0, 2.0
"""A function may be off by 4 ULP, or by 2 times what the host's fp32 is."""
RMSE_FACTOR = {"fp32": 2.0}
HALF_RMSE_FACTOR = 3.0
"""RMSE of a result over that of the worst honest order; 3 in half precision, as in PyTorch's own comparison."""
RMSE_ELEMENTS = 1000
"""Fewer elements have no RMSE that could be held against another."""


@dataclass(frozen=True)
class OperatorVerdict:
    """The verdict on one question, as conv2d-dgrad-fp32, in the whole run: the worst case and the rank that gave it.

    `margin` is the worst case's error over its bound: above 1 fails. `cases` were asked on all ranks together.
    """

    question: str
    verdict: Verdict
    reason: str
    margin: float
    cases: int
    worst: OperatorAnswer | None = None
    rank: int = 0


def margin_of(answer: OperatorAnswer) -> float:
    """Return the error over its bound; infinite where there is no answer, or any error where none is allowed.

    >>> margin_of(OperatorAnswer("exp", "forward", "fp32", {"n": 8}, "ulp", elements=8, worst=2.0, honest=0.5))
    0.5
    """
    if answer.error:
        return math.inf
    if answer.rule == EXACT:
        return math.inf if answer.worst else 0.0
    if answer.rule == ULP:
        return answer.worst / max(LEAST_ULP, HONEST_ULP * answer.honest)
    return max(answer.worst / max(LEAST_SUM, HONEST_SUMS * answer.honest), _rmse_margin(answer))


def _rmse_margin(answer: OperatorAnswer) -> float:
    if answer.rule != SUMS or answer.elements < RMSE_ELEMENTS or not answer.rmse:
        return 0.0
    yardstick = max(answer.honest_rmse, UNIT_ROUNDOFF[answer.dtype] * answer.rms)
    allowed = RMSE_FACTOR.get(answer.dtype, HALF_RMSE_FACTOR) * yardstick
    return answer.rmse / allowed if allowed else math.inf


def judge_operators(evidence: Evidence) -> Mapping[str, OperatorVerdict]:
    """Return the verdict on every question that a rank has answered, by its name."""
    answers: dict[str, list[tuple[float, int, OperatorAnswer]]] = {}
    for rank in evidence.ranks:
        for answer in rank.operators:
            answers.setdefault(answer.question, []).append((margin_of(answer), rank.rank, answer))
    starts = dict(evidence.starts)
    return {question: _judged(question, found, starts) for question, found in answers.items()}


def _judged(
    question: str, found: list[tuple[float, int, OperatorAnswer]], starts: Mapping[int, Start]
) -> OperatorVerdict:
    # NaN, which no comparison orders, counts as infinite.
    margin, rank, worst = max(found, key=lambda one: math.inf if math.isnan(one[0]) else one[0])
    failed = not margin <= 1
    wrong = sorted({other for over, other, _ in found if not over <= 1})
    reason = _reason(worst, margin)
    if failed:
        ranks = len({other for _, other, _ in found})
        where = ", ".join(_place(one, starts) for one in wrong) if len(wrong) < ranks else "every rank"
        reason = f"{where}: {reason}"
    return OperatorVerdict(question, Verdict.FAIL if failed else Verdict.PASS, reason, margin, len(found), worst, rank)


def _place(rank: int, starts: Mapping[int, Start]) -> str:
    start = starts.get(rank)
    return f"rank {rank}" + (f" (device {start.card} of {start.host})" if start is not None else "")


def _reason(answer: OperatorAnswer, margin: float) -> str:
    if answer.error:
        return f"{answer.shape}: no answer: {answer.error}"
    if answer.rule == EXACT:
        what = f"{answer.wrong} of {answer.elements} elements differ, expected the same bits"
    elif answer.rule == ULP:
        allowed = max(LEAST_ULP, HONEST_ULP * answer.honest)
        what = f"found an error of {answer.worst:.3g} ULP, expected at most {allowed:.3g}"
    elif _rmse_margin(answer) == margin and margin:
        what = f"found an RMS error of {answer.rmse:.3g}, {margin:.3g} times what is allowed"
    else:
        allowed = max(LEAST_SUM, HONEST_SUMS * answer.honest)
        what = f"found an error of {answer.worst:.3g} u S, expected at most {allowed:.3g}"
    where = f"; element {answer.at} is {answer.found:.9g}, expected {answer.expected:.9g}" if margin > 1 else ""
    return f"{answer.shape}: {what}{where}"


def odd_devices(evidence: Evidence) -> Mapping[str, tuple[int, ...]]:
    """Return the ranks whose answer has other bits than most ranks', by case; without the cases that all agree on."""
    alike: dict[str, dict[str, list[int]]] = {}
    for rank in evidence.ranks:
        for answer in rank.operators:
            if answer.digest:
                ranks = alike.setdefault(f"{answer.question}[{answer.shape}]", {})
                ranks.setdefault(answer.digest, []).append(rank.rank)
    return {case: _minority(ranks.values()) for case, ranks in alike.items() if len(ranks) > 1}


def _minority(groups: Iterable[list[int]]) -> tuple[int, ...]:
    ordered = sorted(groups, key=len)
    return tuple(sorted(rank for group in ordered[:-1] for rank in group))
