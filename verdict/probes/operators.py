"""Judges what a device computed: an answer's error against the bound of its rule, on all ranks.

Bounds: docs/numerics.md and evidence/events/operators.py. The first rule of sums finds one wrong element, the second
a precision that is too low everywhere; both are relative to the worst honest order of summation, as a device may sum in
any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterable, Iterator, Mapping

from evidence.bundle import Evidence
from evidence.events.operators import (
    BITS,
    EXACT,
    RMSE_ELEMENTS,
    SPECIAL,
    SUMS,
    ULP,
    VALID,
    WATCHED,
    OperatorAnswer,
    OperatorsDone,
)
from evidence.events.rank import RankEvidence
from evidence.events.setup import Start
from evidence.verdict import ProbeVerdict, Verdict
from expected import Cell
from verdict.probes.answers import ProbeAnswer, devices_in_words, in_one_line, ordered, place_of

_NAMED = 4

HOST_RMSE = 2.0**-12
"""RMSE over RMS of the host's own fp32, from which on it is no fp32."""


@dataclass(frozen=True)
class OperatorVerdict(ProbeAnswer):
    """The verdict on one operator, direction and dtype: the worst case, and the rank that gave it."""

    worst: OperatorAnswer | None = None
    rank: int = 0


def answered(done: OperatorsDone, rank: RankEvidence, asked: str) -> tuple[str, object]:
    """Return what is wrong with a rank's answers, and the cases that all ranks have to have answered."""
    cases = {(one.question, one.shape, one.seed) for one in rank.operators}
    if not done.cases == len(rank.operators) == len(cases):
        return f"found {done.cases} cases and answers to {len(cases)}, expected one answer to each case", None
    return "", None if done.unasked else cases  # as the time was over, on each rank elsewhere: a question of its own


def judge_operators(evidence: Evidence) -> Mapping[str, OperatorVerdict]:
    """Return the verdict on every question that a rank has answered, by its name."""
    answers: dict[str, list[tuple[float, int, OperatorAnswer]]] = {}
    for rank in evidence.ranks:
        for answer in rank.operators:
            answers.setdefault(answer.question, []).append((answer.margin, rank.rank, answer))
    starts, unasked = dict(evidence.starts), _unasked(evidence)
    return {
        question: _judged(question, found, starts, unasked.get(question, {})) for question, found in answers.items()
    }


def _unasked(evidence: Evidence) -> Mapping[str, Mapping[int, int]]:
    """Return by question how many of its cases each rank was not asked, as the probe's time was over."""
    found: dict[str, dict[int, int]] = {}
    for rank in evidence.ranks:
        for question, count in rank.operators_done.unasked.items() if rank.operators_done is not None else ():
            found.setdefault(question, {})[rank.rank] = count
    return found


def _judged(
    question: str,
    found: list[tuple[float, int, OperatorAnswer]],
    starts: Mapping[int, Start],
    unasked: Mapping[int, int],
) -> OperatorVerdict:
    margin, rank, worst = max(found, key=lambda one: ordered(one[0]))
    wrong = sorted({other for over, other, _ in found if not over <= 1})
    blunt = next((one for _, _, one in found if _is_blunt(one)), None)
    verdict, reason, place = Verdict.PASS, _reason(worst, margin), ""
    blunt = next((one for _, _, one in found if _is_blunt(one)), None)
    if wrong:
        ranks = len({other for _, other, _ in found})
        where = ", ".join(place_of(one, starts) for one in wrong) if len(wrong) < ranks else "every rank"
        verdict, reason, place = Verdict.FAIL, f"{where}: {reason}", devices_in_words(wrong, starts)
    elif blunt is not None:
        verdict = Verdict.INCONCLUSIVE
        reason = (
            f"{blunt.shape}: the host's own arithmetic is off by {blunt.honest:.3g} u S, RMS {blunt.honest_rmse:.2g} "
            f"of {blunt.rms:.2g}: no yardstick; switch off what lowers it (ONEDNN_DEFAULT_FPMATH_MODE), and empty the "
            "cache of references ($CONFORMANCE_CACHE/references)"
        )
    elif unasked:
        late, count = max(unasked.items(), key=lambda one: one[1])
        lacking = f"{count} cases not asked on {place_of(late, starts)}: the probe's time was over"
        verdict, reason = Verdict.MISSING, f"{lacking}; of the others {reason}"
    figures = {"size": worst.shape}
    return OperatorVerdict(question, verdict, reason, margin, len(found), place, figures, worst, rank)


def _is_blunt(one: OperatorAnswer) -> bool:
    """Return whether the host's own arithmetic is too far off for a bound that follows from it to say anything."""
    if one.rule not in (SUMS, ULP):
        return False
    by_rmse = one.rule == SUMS and one.dtype == "fp32" and one.elements >= RMSE_ELEMENTS
    return not math.isfinite(one.honest) or (by_rmse and not one.honest_rmse <= HOST_RMSE * one.rms < math.inf)


_COUNTED = {
    EXACT: "the same bits",
    SPECIAL: "NaN and infinity where IEEE 754 has them",
    VALID: "an answer that is right whichever of equals comes first",
    WATCHED: "either: denormals may be taken for zero",
}


def _reason(answer: OperatorAnswer, margin: float) -> str:
    if answer.error:
        return f"{answer.shape}: no answer: {answer.error}"
    if answer.rule in _COUNTED:
        what = f"{answer.wrong} of {answer.elements} elements differ, expected {_COUNTED[answer.rule]}"
    elif answer.rule == BITS:
        kept, least = 24 - answer.worst, 24 - answer.most
        what = f"found {kept:.0f} of the 24 bits of fp32 in a product with 1, expected {least:.0f} or more"
    elif answer.rule == ULP:
        what = f"found an error of {answer.worst:.3g} ULP, expected at most {answer.most:.3g}"
    elif answer.rmse_margin == margin and margin:
        what = f"found an RMS error of {answer.rmse:.3g}, {margin:.3g} times what is allowed"
    else:
        what = f"found an error of {answer.worst:.3g} u S, expected at most {answer.most:.3g}"
    element = f"element {answer.at}"
    if answer.in_sums:
        element = f"signed sum {answer.at} over {answer.channels} channels / {answer.channels**0.5:.3g}"
    where = f"; {element} is {answer.found:.9g}, expected {answer.expected:.9g}" if margin > 1 else ""
    return f"{answer.shape}: {what}{where}"


def operators_line(evidence: Evidence, cell: Cell) -> ProbeVerdict | None:
    """Return the operators probe of a run in one line; None if it was not made."""
    found = list(judge_operators(evidence).values())
    if not found:
        return None
    nearest = max(found, key=lambda one: one.margin)
    passed = f"{len(found)} of {len(found)}; nearest {nearest.margin:.0%} of its bound ({nearest.question})"
    others = [one for one in (judge_repeats(evidence), judge_agreement(evidence)) if one is not None]
    return in_one_line([*found, *others], passed=passed, bound="all")


def judge_repeats(evidence: Evidence) -> ProbeAnswer | None:
    """Return the verdict on cases that were computed again and again: the same bits each time, but for those allowed.

    None if no rank has repeated any.
    """
    repeated = [(rank.rank, one) for rank in evidence.ranks for one in rank.operators if one.repeats]
    if not repeated:
        return None
    varied = [(rank, one) for rank, one in repeated if one.unlike]
    wrong = [(rank, one) for rank, one in varied if not one.may_vary]
    count = f"{len(repeated)} cases, each computed {max(one.repeats for _, one in repeated) + 1} times"
    allowed = sorted({f"{one.question} ({one.may_vary})" for _, one in varied if one.may_vary})
    note = f"other bits, as they may have: {', '.join(allowed)}" if allowed else ""
    if not wrong:
        return ProbeAnswer("repeatable", Verdict.PASS, count, 0.0, len(repeated), figures={"note": note})
    starts = dict(evidence.starts)
    place = devices_in_words({rank for rank, _ in wrong}, starts)
    words = [f"{one.question} on {place_of(rank, starts)}: {one.unlike} of {one.repeats} times" for rank, one in wrong]
    reason = f"{count}: other bits in {_some(words)}, expected the same"
    figures = {"size": wrong[0][1].shape, "note": note}
    return ProbeAnswer("repeatable", Verdict.FAIL, reason, math.inf, len(repeated), place, figures)


def judge_agreement(evidence: Evidence) -> ProbeAnswer | None:
    """Return the verdict on whether devices of a kind give the same bits; None with fewer than two that were asked.

    An odd one computes wrong now and then, or differs in what it runs. Devices are of a kind if their name and versions
    are the same; CPUs of several hosts may be different ones, so only ranks of one host are compared.
    """
    starts = dict(evidence.starts)
    kinds: dict[tuple[str, ...], dict[tuple[str, str], dict[str, list[int]]]] = {}
    asked = 0
    for rank in evidence.ranks:
        start = starts.get(rank.rank)
        if start is None or not (rank.operators or rank.gradients):
            continue
        asked += 1
        kind = (start.device_name, repr(sorted(start.versions.items())), start.host if start.backend == "cpu" else "")
        cases = kinds.setdefault(kind, {})
        for case, digest in _compared(rank):
            cases.setdefault(case, {}).setdefault(digest, []).append(rank.rank)
    if asked < 2:
        return None
    compared = {case for cases in kinds.values() for case in cases}
    odd: dict[tuple[int, ...], list[str]] = {}
    for case, digests in ((case, digests) for cases in kinds.values() for case, digests in cases.items()):
        if len(digests) > 1:
            odd.setdefault(_minority(digests.values()), []).append(case[0])
    if not odd:
        return ProbeAnswer("devices_agree", Verdict.PASS, f"{len(compared)} cases on {asked} ranks", 0.0, asked)
    words = [
        f"{', '.join(place_of(rank, starts) for rank in ranks)}: other bits than the others in {_some(cases)}"
        for ranks, cases in odd.items()
    ]
    place = devices_in_words({rank for ranks in odd for rank in ranks}, starts)
    return ProbeAnswer("devices_agree", Verdict.FAIL, "; ".join(words), math.inf, asked, place)


def _compared(rank: RankEvidence) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the name of each answer that has to be the same everywhere, with what it was computed from, and its digest.

    Hosts may have made other decisions for the step whose gradients these are.
    """
    for one in rank.operators:
        if one.digest and not one.may_vary:
            yield (f"{one.question} {one.shape}", ""), one.digest
    for gradient in rank.gradients:
        if gradient.digest and not gradient.may_vary:
            yield (f"gradient {gradient.parameter}", gradient.decisions), gradient.digest


def _minority(groups: Iterable[list[int]]) -> tuple[int, ...]:
    """Return the ranks outside the largest group; of all groups if two are as large."""
    by_size = sorted(groups, key=len)
    odd = by_size if len(by_size[-1]) == len(by_size[-2]) else by_size[:-1]
    return tuple(sorted(rank for group in odd for rank in group))


def _some(words: list[str]) -> str:
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more
