"""What all probes have in common: the answer to a question, a line in the closing table, and who is named."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Collection, Iterable, Mapping, Sequence, TypeVar

from evidence.events.setup import Start
from evidence.verdict import ProbeVerdict, Verdict


@dataclass(frozen=True)
class ProbeAnswer:
    """The verdict on one question of a probe, as conv2d-dgrad-fp32, in the whole run.

    `margin` is the worst case's value over its bound, so that above 1 fails; `cases` were asked on all ranks together.
    `place` is where it failed in words for the gate's line, as "on device 5", "" if that is not known; `figures` are
    what it has of numbers beside.
    """

    question: str
    verdict: Verdict
    reason: str
    margin: float
    cases: int
    place: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)

    @property
    def facts(self) -> Mapping[str, str]:
        """Its numbers in words, for JUnit's properties."""
        own = {"verdict": str(self.verdict), "margin": f"{self.margin:.3g}", "cases": str(self.cases)}
        return {**own, **{name: text for name, text in self.figures.items() if text}}


_A = TypeVar("_A", bound=ProbeAnswer)


def in_one_line(answers: Sequence[ProbeAnswer], *, passed: str, bound: str) -> ProbeVerdict:
    """Return a probe's line: the worst verdict of its answers, the first two that are no pass, and how many more."""
    wrong = sorted(
        (one for one in answers if one.verdict is not Verdict.PASS), key=lambda one: list(Verdict).index(one.verdict)
    )
    if not wrong:
        return ProbeVerdict(passed, bound, Verdict.PASS)
    reason = "; ".join(f"{one.question}: {one.reason}" for one in wrong[:2])
    more = f"; {len(wrong) - 2} more" if len(wrong) > 2 else ""
    right = len(answers) - len(wrong)
    return ProbeVerdict(f"{right} of {len(answers)}", bound, wrong[0].verdict, f"{reason}{more}")


def worst_of(answers: Iterable[_A | None]) -> _A | None:
    """Return the answer furthest from a pass, of those that there are: of several boots of a cell, one bad is bad."""
    found = [one for one in answers if one is not None]
    order = list(Verdict)
    return max(found, key=lambda one: (-order.index(one.verdict), ordered(one.margin)), default=None)


def ordered(margin: float) -> float:
    """Return a margin; infinite for NaN, which no comparison orders."""
    return math.inf if math.isnan(margin) else margin


def devices_in_words(ranks: Collection[int], starts: Mapping[int, Start]) -> str:
    """Return the devices of ranks in words, with their hosts if the run had several.

    >>> devices_in_words([5], {})
    'on rank 5'
    """
    if set(ranks) >= set(starts) and len(starts) > 1:
        return "on every device"
    by_host: dict[str, list[str]] = {}
    for rank in sorted(ranks):
        start = starts.get(rank)
        host, name = (start.host, f"device {start.card}") if start is not None else ("", f"rank {rank}")
        by_host.setdefault(host, []).append(name)
    several = len({start.host for start in starts.values()}) > 1
    return "on " + ", ".join(
        " and ".join(names) + (f" of {host}" if several and host else "") for host, names in by_host.items()
    )


def place_of(rank: int, starts: Mapping[int, Start]) -> str:
    """Return a rank in words, as "rank 5 (device 5 of node-a)".

    >>> place_of(5, {})
    'rank 5'
    """
    start = starts.get(rank)
    return f"rank {rank}" + (f" (device {start.card} of {start.host})" if start is not None else "")
