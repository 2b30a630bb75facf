"""What holds a run back and what to do next, in words; the one device at fault, which all charts show in one colour."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np

from evidence.bundle import Evidence
from evidence.events.training import LEDGER_PARTS
from evidence.telemetry import DeviceSamples
from evidence.verdict import MetricVerdict, ProbeVerdict, RunVerdict, Verdict
from reports.html.texts import text
from verdict.metrics.stragglers import stragglers
from verdict.metrics.throughput import RATES
from verdict.wording import percent

TIE = 0.01
"""Values that differ by less than this share are a tie: neither is the highest or the slowest."""
_WAITING = 0.1  # share of the wall time in which waiting for data explains a low rate
_SIGNS = (("temperature_c", "hottest", False), ("core_clock_mhz", "lowest_clock", True))


@dataclass(frozen=True)
class Culprit:
    """The rank whose forward passes take longest, clearly longer than on any other, and its device.

    `slower` is the share by which they take longer than the others' median. `signs` are the keys of what else sets
    the device apart: hottest, lowest_clock, throttled.
    """

    rank: int
    host: str
    card: int
    slower: float
    signs: tuple[str, ...] = ()

    @property
    def device(self) -> tuple[str, int]:
        """Host and index, as in DeviceSamples.card."""
        return self.host, self.card

    @property
    def words(self) -> str:
        """Which it is, by how much it is slower, and what else sets it apart."""
        signs = "".join(f", {text(f'sign.{one}')}" for one in self.signs)
        place = text("culprit.place", rank=self.rank, card=self.card, host=self.host)
        return text("culprit.words", place=place, share=percent(self.slower), signs=signs)


def find_culprit(evidence: Evidence) -> Culprit | None:
    """Return the one rank that is slower than the others; None if none is, or if two are slow alike."""
    slow = stragglers(evidence)
    if not slow or (len(slow) > 1 and slow[0].slower - slow[1].slower < TIE):
        return None
    found = slow[0]
    signs = [name for reading, name, low in _SIGNS if _is_apart(evidence.telemetry.cards, reading, low, found)]
    throttled = [one.card for one in evidence.telemetry.cards if one.throttled]
    signs += ["throttled"] * (throttled == [(found.host, found.card)])
    return Culprit(found.rank, found.host, found.card, found.slower, tuple(signs))


def outlier(values: Sequence[float], *, low: bool = False) -> int | None:
    """Return the index of the highest (or lowest) value; None on a tie, with one value, or with none.

    >>> outlier([60.0, 61.0, 92.0]), outlier([20.0, 20.0, 19.9], low=True)
    (2, None)
    """
    if len(values) < 2:
        return None
    order = sorted(range(len(values)), key=lambda at: values[at], reverse=not low)
    first, second = values[order[0]], values[order[1]]
    return order[0] if abs(first - second) > TIE * max(abs(first), abs(second)) else None


def cause(
    evidence: Evidence,
    verdict: RunVerdict,
    culprit: Culprit | None,
    beside: Sequence[MetricVerdict | ProbeVerdict] = (),
) -> str:
    """Return why the run does not pass in a line; `beside` are its probes and comparisons. "" for a pass."""
    if verdict.outcome is Verdict.INVALID:
        more = len(verdict.reasons) - 1
        return verdict.reasons[0] + (text("cause.more", n=more) if more > 0 else "")
    rates = [one for one in _wrong(verdict) if one.metric in RATES]
    if rates and culprit is not None:
        return culprit.words
    slow = stragglers(evidence)
    if rates and slow:
        return text("cause.several", places="; ".join(map(str, slow[:4])))
    waiting = _waiting(evidence)
    if rates and waiting > _WAITING:
        return text("cause.waiting", share=percent(waiting))
    if any(one.verdict is Verdict.FAIL for one in rates):
        return text("cause.all_alike")
    decided = [*verdict.metrics.values(), *beside]
    worst = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.MISSING)
    return next((one.reason for word in worst for one in decided if one.verdict is word), "")


def next_step(evidence: Evidence, verdict: RunVerdict, state: Verdict, culprit: Culprit | None) -> str:
    """Return what to do about the state of a run, in a line."""
    rates = [one for one in _wrong(verdict) if one.metric in RATES]
    if state is Verdict.FAIL and rates and culprit is not None:
        place = text("culprit.place", rank=culprit.rank, card=culprit.card, host=culprit.host)
        return text("next.each_card" if verdict.cell.card is None else "next.device", place=place)
    if state is Verdict.FAIL and rates and _waiting(evidence) > _WAITING:
        return text("next.waiting")
    if state is Verdict.FAIL and any(one.verdict is Verdict.FAIL for one in verdict.probes.values()):
        return text("next.operators")
    wrong = {one.metric for one in _wrong(verdict)}
    for name in ("map", "mem"):
        if state is Verdict.FAIL and wrong == {name}:
            return text(f"next.{name}")
    return text(f"next.{state}")


def _wrong(verdict: RunVerdict) -> list[MetricVerdict]:
    return [one for one in verdict.metrics.values() if one.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)]


def _is_apart(cards: Sequence[DeviceSamples], reading: str, low: bool, found: object) -> bool:
    medians: Mapping[tuple[str, int], float] = {
        one.card: float(np.nanmedian(one.readings[reading]))
        for one in cards
        if reading in one.readings and not np.isnan(one.readings[reading]).all()
    }
    at = outlier(list(medians.values()), low=low)
    return at is not None and list(medians)[at] == (getattr(found, "host", ""), getattr(found, "card", -1))


def _waiting(evidence: Evidence) -> float:
    """Return the median share of their wall time that ranks waited for data; 0 without a ledger."""
    shares = [
        rank.train_end.ledger["data_wait_ns"] / max(1, sum(rank.train_end.ledger[name] for name in LEDGER_PARTS))
        for rank in evidence.ranks
        if rank.train_end is not None
    ]
    return statistics.median(shares) if shares else 0.0
