"""Judges a whole training step: its gradients, the loss of some steps, and whether a step gives the same bits again.

Bounds: docs/numerics.md. Each is relative to what honest arithmetic reaches on the host, decisions being the same.
"""

from __future__ import annotations

import math
from typing import Iterator

from evidence.bundle import Evidence
from evidence.events.one_step import Gradient, OneStepDone
from evidence.events.operators import UNIT_ROUNDOFF
from evidence.events.rank import RankEvidence
from evidence.verdict import ProbeVerdict, Verdict
from expected import Cell
from verdict.probes.answers import ProbeAnswer, devices_in_words, in_one_line, ordered, place_of
from verdict.probes.operators import HOST_RMSE

LEAST_UNITS, HONEST_UNITS = 16.0, 8.0
"""An element of a gradient may be off by 16 u of the largest one, or by 8 times what the worst honest arithmetic is."""
RMSE_FACTOR, RMSE_ELEMENTS = 4.0, 1000
"""RMSE of a gradient over that of the worst honest arithmetic, from 1,000 elements on.

Twice what operators may have: the errors of a step have common causes, and so scatter more than those of one sum.
"""
SPREADS = 3.0
"""A loss may be off by 3 times the largest distance of honest arithmetic up to its step, or by 16 u of itself."""
HOST_SPREAD = 0.1
"""Share of the loss by which honest arithmetic may differ for a band to say anything."""


def answered(done: OneStepDone, rank: RankEvidence, asked: str) -> tuple[str, object]:
    """Return what is wrong with a rank's answers, and the gradients and steps that all ranks have to have."""
    names = {one.parameter for one in rank.gradients}
    if done.error:
        return "", None
    if not done.gradients == len(rank.gradients) == len(names) > 0:
        return f"found {len(names)} gradients, expected the {done.gradients} of its 'one_step'", None
    if not len(done.losses) == len(done.expected) == len(done.spread) > 0:
        return f"found {len(done.losses)} losses, expected one a step, and as many of the host", None
    return "", (names, len(done.losses))


def gradient_margin(one: Gradient) -> float:
    """Return the error of a gradient over its bound, of both bounds the worse.

    >>> gradient_margin(Gradient("fc.weight", "fp32", 9, worst=40.0, honest=10.0, rmse=0.0, honest_rmse=0.0, rms=1.0))
    0.5
    """
    over = one.worst / max(LEAST_UNITS, HONEST_UNITS * one.honest)
    allowed = RMSE_FACTOR * max(one.honest_rmse, UNIT_ROUNDOFF[one.dtype] * one.rms)
    if one.elements < RMSE_ELEMENTS or not one.rmse:
        return over
    return max(over, one.rmse / allowed if allowed else math.inf, key=ordered)


def judge_gradients(evidence: Evidence) -> ProbeAnswer | None:
    """Return the verdict on the gradients of one step on all ranks; None if no rank has taken it."""
    failed = _unanswered(evidence, "gradients")
    if failed is not None:
        return failed
    found = [(gradient_margin(one), rank.rank, one) for rank in evidence.ranks for one in rank.gradients]
    if not found:
        return None
    margin, _, worst = max(found, key=lambda one: ordered(one[0]))
    place = ""
    what = (
        f"{worst.parameter}: found an error of {worst.worst:.3g} u max|g|, RMS {worst.rmse:.3g}, expected at most "
        f"{max(LEAST_UNITS, HONEST_UNITS * worst.honest):.3g} and {RMSE_FACTOR:g} x {worst.honest_rmse:.3g}"
    )
    if ordered(margin) > 1:
        what += f"; element {worst.at} is {worst.found:.9g}, expected {worst.expected:.9g}"
        ranks = sorted({rank for over, rank, _ in found if not over <= 1})
        wrong = sorted({one.parameter for over, _, one in found if not over <= 1})
        several = f"; {len(wrong)} of {len({one.parameter for _, _, one in found})} gradients" if len(wrong) > 1 else ""
        what = f"{_where(evidence, ranks)}: {what}{several}"
        place = devices_in_words(ranks, dict(evidence.starts))
    verdict = Verdict.PASS if margin <= 1 else Verdict.FAIL
    blunt = [one for _, _, one in found if not all(map(math.isfinite, (one.honest, one.honest_rmse, one.rms)))]
    if verdict is Verdict.PASS and blunt:
        verdict = Verdict.INCONCLUSIVE
        what = f"{blunt[0].parameter}: honest arithmetic on the host has no finite error: it is no yardstick"
    elif verdict is Verdict.PASS and worst.dtype == "fp32":
        shares = sorted(one.honest_rmse / one.rms for _, _, one in found if one.rms)
        if shares and shares[len(shares) // 2] > HOST_RMSE:
            verdict = Verdict.INCONCLUSIVE
            what = (
                f"the host's own fp32 is off by {shares[len(shares) // 2]:.2g} of the gradients, expected at most "
                f"{HOST_RMSE:.2g}: its products are not fp32; switch off what lowers them (ONEDNN_DEFAULT_FPMATH_MODE)"
            )
    return ProbeAnswer("gradients", verdict, what, margin, len(found), place, {"worst": worst.parameter})


def judge_trajectory(evidence: Evidence) -> ProbeAnswer | None:
    """Return the verdict on the losses of the steps on all ranks, likewise."""
    failed = _unanswered(evidence, "trajectory")
    if failed is not None:
        return failed
    found = [
        (ordered(abs(loss - expected) / _band(done, step)), rank, step, done)
        for rank, done in _done(evidence)
        for step, (loss, expected) in enumerate(zip(done.losses, done.expected))
    ]
    if not found:
        return None
    margin, _, step, done = max(found, key=lambda one: one[0])
    what = (
        f"step {step}: found a loss of {done.losses[step]:.9g}, expected {done.expected[step]:.9g} within "
        f"{_band(done, step):.2g}"
    )
    verdict, place = Verdict.PASS if margin <= 1 else Verdict.FAIL, ""
    if verdict is Verdict.FAIL:
        ranks = sorted({rank for over, rank, _, _ in found if over > 1})
        first = min(step for over, _, step, _ in found if over > 1)
        what = f"{_where(evidence, ranks)}: {what}; out of its band from step {first} on"
        place = devices_in_words(ranks, dict(evidence.starts))
    elif any(done.spread[step] > HOST_SPREAD * abs(done.expected[step]) for _, _, step, done in found):
        verdict = Verdict.INCONCLUSIVE
        what = (
            "honest arithmetic on the host differs by more than a tenth of the loss, so that no error could be detected"
        )
    return ProbeAnswer("trajectory", verdict, what, margin, len(found), place, {"worst": f"step {step}"})


def judge_replayed_step(evidence: Evidence) -> ProbeAnswer | None:
    """Return the verdict on steps that were taken again from the same state: the same bits, but for those allowed."""
    failed = _unanswered(evidence, "replayed_step")
    if failed is not None:
        return failed
    repeated = [(rank.rank, one) for rank in evidence.ranks for one in rank.gradients if one.repeats]
    if not repeated:
        return None
    varied = [(rank, one) for rank, one in repeated if one.unlike]
    wrong = [(rank, one) for rank, one in varied if not one.may_vary]
    held = len({one.parameter for _, one in repeated if not one.may_vary})
    count = f"{held} of {len({one.parameter for _, one in repeated})} gradients and parameters have to be the same"
    reasons = sorted({one.may_vary for _, one in varied if one.may_vary})
    note = f"; others have other bits, as they may: {'; '.join(reasons)}" if reasons else ""
    if wrong:
        ranks = sorted({rank for rank, _ in wrong})
        names = sorted({one.parameter for _, one in wrong})
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        text = f"{_where(evidence, ranks)}: other bits in {', '.join(names[:3])}{more}; {count}{note}"
        place = devices_in_words(ranks, dict(evidence.starts))
        return ProbeAnswer("replayed_step", Verdict.FAIL, text, math.inf, len(repeated), place, {"worst": names[0]})
    if not held:
        text = f"nothing has to be the same: {'; '.join(sorted({one.may_vary for _, one in repeated}))}"
        return ProbeAnswer("replayed_step", Verdict.RECORDED, text, 0.0, len(repeated))
    return ProbeAnswer("replayed_step", Verdict.PASS, f"{count}{note}", 0.0, len(repeated))


def one_step_line(evidence: Evidence, cell: Cell) -> ProbeVerdict | None:
    """Return the one-step probe of a run in one line; None if it was not made."""
    gradients, losses = judge_gradients(evidence), judge_trajectory(evidence)
    if gradients is None or losses is None:
        return None
    replayed = judge_replayed_step(evidence)
    passed = f"gradients at {gradients.margin:.0%} of their bounds, loss at {losses.margin:.0%}"
    answers = [one for one in (gradients, losses, replayed) if one is not None and one.verdict is not Verdict.RECORDED]
    return in_one_line(answers, passed=passed, bound="honest arithmetic")


def _done(evidence: Evidence) -> Iterator[tuple[int, OneStepDone]]:
    for rank in evidence.ranks:
        if rank.one_step is not None:
            yield rank.rank, rank.one_step


def _unanswered(evidence: Evidence, question: str) -> ProbeAnswer | None:
    errors = [(rank, done.error) for rank, done in _done(evidence) if done.error]
    if not errors:
        return None
    ranks = [rank for rank, _ in errors]
    text = f"{_where(evidence, ranks)}: no answer: {errors[0][1]}"
    place = devices_in_words(ranks, dict(evidence.starts))
    return ProbeAnswer(question, Verdict.FAIL, text, math.inf, len(errors), place)


def _where(evidence: Evidence, ranks: list[int]) -> str:
    starts = dict(evidence.starts)
    return "every rank" if len(ranks) == len(evidence.ranks) > 1 else ", ".join(place_of(one, starts) for one in ranks)


def _band(done: OneStepDone, step: int) -> float:
    return max(SPREADS * done.spread[step], LEAST_UNITS * UNIT_ROUNDOFF[done.dtype] * abs(done.expected[step]))
