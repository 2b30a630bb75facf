"""Whether a card is slower than the others of its host, from a run of its own on each: burn-in."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Sequence

from evidence.verdict import MetricVerdict, Verdict
from verdict.judge import FAIL, INCONCLUSIVE, INVALID, PASS, RECORDED, against_bounds, steps_advice
from verdict.metrics.measurement import Measurement
from verdict.metrics.statistics import MIN_STEPS
from verdict.metrics.stragglers import TOLERANCE
from verdict.wording import figure

SIBLINGS = "siblings"

MIN_CARDS = 3
"""Of two cards that differ nobody can say whether one is slow or the other quick."""


@dataclass(frozen=True)
class CardRun:
    """A card's own run: its p_core in images/s, or why that cannot be trusted (`broken`). No `serial` is ""."""

    card: int
    serial: str
    p_core: Measurement | None
    broken: str = ""

    @property
    def usable(self) -> Measurement | None:
        """The p_core to compare; None where there is none that can be trusted."""
        return None if self.broken else self.p_core

    def __str__(self) -> str:
        return f"card {self.card}" + (f" ({self.serial})" if self.serial else "")


@dataclass(frozen=True)
class CardVerdict:
    """One card beside its siblings: `share` is its p_core over the median of the others', None where there is none."""

    run: CardRun
    share: float | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class SiblingsVerdict:
    """The judgement of all cards: `cards` in the order given, `reason` names those that decided `verdict`."""

    cards: tuple[CardVerdict, ...]
    verdict: Verdict
    reason: str

    @property
    def metric(self) -> MetricVerdict:
        """The same as the verdict on one number: the share of the card that is furthest behind."""
        lowest = min((card.share for card in self.cards if card.share is not None), default=None)
        method = "lowest p_core of a card over the median of the other cards', each in a run of its own"
        low = 1 - TOLERANCE
        return MetricVerdict(
            SIBLINGS, lowest, "", None, None, low, None, "higher", method, "", self.verdict, self.reason
        )


def judge_siblings(runs: Sequence[CardRun]) -> SiblingsVerdict:
    """Name the cards whose p_core lies more than TOLERANCE below the median of the other cards', with confidence.

    Of an even number of others it is the lower of the two in the middle: beside one quick card none is slow. A card
    fails if its whole interval lies below the bound, and is inconclusive if the interval straddles it or there is none.
    The bound is taken as known: a median of several cards moves less than any one of them. Cards without a number that
    can be trusted are left out, and make all of it invalid unless another one is proven slow; fewer than MIN_CARDS in
    all are only recorded.
    """
    usable = [(run, run.usable) for run in runs]
    cards = tuple(_judge(run, [p for other, p in usable if p is not None and other is not run]) for run in runs)
    for verdict in (FAIL, INVALID, INCONCLUSIVE):
        decisive = [card.reason for card in cards if card.verdict == verdict]
        if decisive:
            return SiblingsVerdict(cards, verdict, "; ".join(decisive))
    if any(card.verdict == RECORDED for card in cards) or not cards:
        count = f"{len(cards)} card{'s' * (len(cards) != 1)}"
        return SiblingsVerdict(
            cards, RECORDED, f"found {count}, expected {MIN_CARDS} or more: fewer have no median to be held against"
        )
    slowest = min(cards, key=lambda card: card.share or 0.0)
    return SiblingsVerdict(cards, PASS, f"no card is slower than its siblings; the slowest, {slowest.reason}")


def _judge(run: CardRun, others: Sequence[Measurement]) -> CardVerdict:
    own = run.usable
    if own is None:
        why = run.broken or "found no p_core, expected one"
        return CardVerdict(run, None, INVALID, f"{run}: its run cannot be compared: {why}")
    median = statistics.median_low([other.value for other in others]) if others else 0.0
    if len(others) + 1 < MIN_CARDS or median <= 0:
        return CardVerdict(run, None, RECORDED, f"{run}: {len(others)} siblings to be held against")
    share, bound = own.value / median, median * (1 - TOLERANCE)
    pace = f"{run} does {figure(own.value)} images/s, {share:.1%} of its siblings' median {figure(median)}"
    if own.interval is None:
        least = max(1, (own.least or MIN_STEPS) - own.n)
        reason = f"{pace}; from {own.n} steps there is no confidence interval, at least {least} more are needed"
        return CardVerdict(run, share, INCONCLUSIVE, reason)
    verdict, _ = against_bounds(own.interval, bound, None)
    if verdict is FAIL:
        return CardVerdict(run, share, FAIL, f"{pace}: slower by more than {TOLERANCE:.0%}")
    if verdict is INCONCLUSIVE:
        span = f"{figure(own.interval.low)} to {figure(own.interval.high)}"
        more = steps_advice(own.value, own.interval, (bound,), own.n)
        reason = f"{pace}; its interval, {span}, straddles {figure(bound)} ({TOLERANCE:.0%} below them); {more}"
        return CardVerdict(run, share, INCONCLUSIVE, reason)
    return CardVerdict(run, share, PASS, pace)
