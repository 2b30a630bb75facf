"""Judges the links of a run: whether what was exchanged is right, how fast, and whether a pair falls behind."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Iterable, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.events.links import ALL_REDUCE, BROADCAST, HOSTS, SEND_RECV, CollectiveResult, LinksDone, shown_bytes
from evidence.events.rank import RankEvidence
from evidence.events.setup import Start
from evidence.verdict import Interval, ProbeVerdict, Verdict
from expected import Cell
from expected.rates import MEASURED, SPECIFICATION, find_rate
from verdict.metrics.links import PairRate, line_through, pair_rates, timed
from verdict.probes.answers import ProbeAnswer, devices_in_words, in_one_line, place_of

MEASURED_SHARE = 0.95
"""Of a measured rate that is published, as of every throughput."""
NETWORK_SHARE = 0.9
"""Of the rate that the vendor states for the network: 180 of InfiniBand's 200 Gb/s, as Azure's NHC requires."""
ODD_PAIR = 0.8
"""A pair is odd if it is slower than this share of the next slower one, a rank if even its fastest pair is."""
OUT_OF_ORDER = 1.5
"""A size may take so many times as long as a larger one: protocols change from size to size."""

_NEEDED = (ALL_REDUCE, BROADCAST)  # by DDP
_NAMED = 3


def answered(done: LinksDone, rank: RankEvidence, asked: str) -> tuple[str, object]:
    """Return what is wrong with a rank's answers, and the exchanges that all ranks have to have taken part in.

    Of each pair the lower rank has the times: of every two devices of a host, and of the first of every two hosts.
    """
    names = [one.name for one in rank.collectives]
    if (done.collectives, done.pairs) != (len(names), len(rank.pairs)):
        found = f"found {done.collectives} collectives and {done.pairs} pairs"
        return f"{found} and results of {len(names)} and {len(rank.pairs)}, expected one of each", None
    if rank.start is not None and not any(one.startswith(SEND_RECV) for one in done.not_asked):
        at, local, devices = rank.rank, rank.start.local_rank, rank.start.local_world_size
        peers = [*range(at + 1, at - local + devices)]
        peers += range(at + devices, rank.start.world_size, devices) if local == 0 else ()
        if sorted(pair.peer for pair in rank.pairs) != peers:
            return f"found pairs with the ranks {[pair.peer for pair in rank.pairs]}, expected {peers}", None
    untimed = [one.name for one in rank.collectives if min(one.times_ns, default=1) <= 0]
    untimed += [f"{SEND_RECV} with rank {pair.peer}" for pair in rank.pairs if min(pair.times_ns, default=0) <= 0]
    if untimed:
        return f"found no time above 0 of {untimed[0]}, expected every call to take time: the step timer is wrong", None
    return "", (names, done.not_asked)


def judge_results(evidence: Evidence) -> ProbeAnswer | None:
    """Return the verdict on the results: every element of every call has the right bits on all ranks.

    None if the run was not asked, as all of these functions.
    """
    done = _asked(evidence)
    if done is None:
        return None
    starts = dict(evidence.starts)
    cases: dict[tuple[object, ...], list[tuple[int, CollectiveResult]]] = {}
    for rank in evidence.ranks:
        for one in rank.collectives:
            key = (one.collective, one.bytes, one.root, one.layout, one.bucket, bool(one.times_ns))
            cases.setdefault(key, []).append((rank.rank, one))
    # First those that show whose data are wrong.
    ordered = sorted(cases.values(), key=lambda found: not _blamed(found))
    wrong = [text for found in ordered for text in _wrong(found, starts)]
    pairs = [(rank.rank, pair) for rank in evidence.ranks for pair in rank.pairs]
    wrong += [
        f"{SEND_RECV} of {shown_bytes(pair.bytes)} between {place_of(one, starts)} and {place_of(pair.peer, starts)}: "
        f"{pair.wrong} elements came back wrong"
        for one, pair in pairs
        if pair.wrong
    ]
    count = len(cases) + len(pairs)
    calls = sum(one.calls for found in cases.values() for _, one in found)
    absent = sorted({f"{one.collective} ({one.error})" for found in cases.values() for _, one in found if one.error})
    figures = {"right": f"{count - len(wrong)} of {count}"}
    if wrong:
        ranks = {rank for found in cases.values() for rank in _blamed(found) or _receivers(found)}
        ranks |= {rank for one, pair in pairs if pair.wrong for rank in (one, pair.peer)}
        where = devices_in_words(ranks, starts) if ranks else ""
        return ProbeAnswer("results", Verdict.FAIL, _some(wrong), math.inf, count, figures=figures, place=where)
    note = f"; not available: {', '.join(absent)}" if absent else ""
    reason = f"{count} cases, {calls} calls, every element exact{note}"
    return _unless_left_out(ProbeAnswer("results", Verdict.PASS, reason, 0.0, count, figures=figures), done, "")


def _wrong(found: Sequence[tuple[int, CollectiveResult]], starts: Mapping[int, Start]) -> Iterable[str]:
    bad = [(rank, one) for rank, one in found if one.wrong or one.guard]
    refused = [(rank, one) for rank, one in found if one.error and one.collective in _NEEDED]
    for rank, one in refused[:1]:
        yield f"{one.name} on {place_of(rank, starts)}: no result: {one.error}"
    if not bad:
        return
    where = "every rank" if len(bad) == len(found) else ", ".join(place_of(rank, starts) for rank, _ in bad)
    one = bad[0][1]
    what = []
    if one.wrong:
        what.append(
            f"{one.wrong} wrong elements in {one.calls} calls; element {one.at} is {one.found:.9g}, expected "
            f"{one.expected:.9g}"
        )
    if one.guard:
        what.append(f"{one.guard} elements beside the buffer were overwritten")
    blamed = _blamed(found)
    of = f"; wrong are the data of {', '.join(place_of(rank, starts) for rank in blamed)}" if blamed else ""
    yield f"{one.name} on {where}: {' and '.join(what)}{of}"


def _receivers(found: Sequence[tuple[int, CollectiveResult]]) -> list[int]:
    return [rank for rank, one in found if one.wrong or one.guard]


def _blamed(found: Sequence[tuple[int, CollectiveResult]]) -> list[int]:
    """Return the ranks whose data are wrong, where several ranks received them so; a single one may receive wrong."""
    bad = [one for _, one in found if one.wrong]
    return sorted({source for one in bad for source in one.sources}) if len(bad) > 1 else []


def judge_buckets(evidence: Evidence) -> ProbeAnswer | None:
    """Return the verdict on DDP's buckets: each was exchanged, with its time and bus bandwidth."""
    done = _asked(evidence)
    if done is None:
        return None
    known = {one.case.bytes: one for one in timed(evidence, ALL_REDUCE)}
    lacking = [shown_bytes(size) for size in done.buckets if size not in known]
    words = ", ".join(known[size].words for size in done.buckets if size in known)
    if lacking:
        reason = f"no time of the buckets {', '.join(lacking)}: {_cut(done)}"
        return ProbeAnswer("buckets", Verdict.MISSING, reason, math.inf, len(done.buckets))
    total_ms = sum(known[size].time_ns for size in done.buckets) / 1e6
    figures = {"exchange_ms": f"{total_ms:.4g}"}
    reason = f"{words}; one exchange of all gradients {total_ms:.3g} ms"
    return ProbeAnswer("buckets", Verdict.PASS, reason, 0.0, len(done.buckets), figures=figures)


def judge_latency(evidence: Evidence) -> ProbeAnswer | None:
    """Return the verdict on time over size: a line, and no size that takes longer than a larger one."""
    done = _asked(evidence)
    if done is None:
        return None
    points = timed(evidence, ALL_REDUCE)
    line = line_through(points)
    if line is None:
        reason = f"times of {len(points)} sizes, expected 3 or more: {_cut(done)}"
        return ProbeAnswer("latency", Verdict.MISSING, reason, math.inf, len(points))
    figures = {"latency_us": f"{line.latency_us:.4g}", "line_gb_per_s": f"{line.gb_per_s:.4g}"}
    words = (
        f"all-reduce: {line.latency_us:.3g} us ({_span(line.latency)}) and {line.gb_per_s:.3g} GB/s bus bandwidth "
        f"({_span(line.bandwidth)}), by a line through {line.sizes} sizes"
    )
    pairs = [(small, large) for at, small in enumerate(points) for large in points[at + 1 :]]
    worst = max(pairs, key=lambda pair: pair[0].time_ns / pair[1].time_ns)
    margin = worst[0].interval.low / max(1.0, worst[1].interval.high) / OUT_OF_ORDER
    if margin > 1:
        reason = f"{worst[0].words} takes longer than {worst[1].words}; {words}"
        return ProbeAnswer("latency", Verdict.FAIL, reason, margin, len(points), figures=figures)
    return ProbeAnswer("latency", Verdict.PASS, words, max(0.0, margin), len(points), figures=figures)


def judge_pairs(evidence: Evidence, cell: Cell) -> ProbeAnswer | None:
    """Return the verdict on every two devices of a host, and every two hosts: the slowest is named.

    A published rate bounds each. Without one, or within it, a pair fails that falls behind all others of its kind; of
    hosts whose links are of several kinds, the slower kind has more than one pair.
    """
    done = _asked(evidence)
    if done is None:
        return None
    starts, found = dict(evidence.starts), list(pair_rates(evidence))
    groups: dict[tuple[str, str], list[PairRate]] = {}
    for pair in found:
        start = starts.get(pair.ranks[0])
        host = "" if pair.between == HOSTS or start is None else start.host
        groups.setdefault((pair.between, host), []).append(pair)
    judged = [_judged_pairs(between, pairs, starts, cell) for (between, _), pairs in groups.items()]
    if not judged:
        return ProbeAnswer("pairs", Verdict.MISSING, f"no pair was measured: {_cut(done)}", math.inf, 0)
    worst = min(judged, key=lambda one: (list(Verdict).index(one.verdict), -one.margin))
    reason = "; ".join(one.reason for one in judged if one.verdict is worst.verdict)
    figures = {f"slowest_{pair.between}_gb_per_s": f"{pair.gb_per_s:.4g}" for pair in _slowest(found)}
    answer = replace(worst, reason=reason, cases=len(found), figures=figures)
    return _unless_left_out(answer, done, SEND_RECV)


def _slowest(found: Iterable[PairRate]) -> list[PairRate]:
    """Return the slowest pair of each kind, devices first."""
    slowest: dict[str, PairRate] = {}
    for pair in sorted(found, key=lambda one: (one.between, one.gb_per_s)):
        slowest.setdefault(pair.between, pair)
    return list(slowest.values())


def _judged_pairs(between: str, pairs: Sequence[PairRate], starts: Mapping[int, Start], cell: Cell) -> ProbeAnswer:
    ordered = sorted(pairs, key=lambda one: one.gb_per_s)
    slowest = ordered[0]
    words = f"slowest of {len(pairs)} pairs of {between}: {_named(slowest, starts)} {_rate(slowest)}"
    bound, where = least_rate(cell, between)
    if bound is not None:
        words = f"{words}, expected >= {_in_unit(bound, between)} ({where})"
        if slowest.interval.high < bound:
            where = devices_in_words(slowest.ranks, starts)
            return ProbeAnswer("pairs", Verdict.FAIL, words, bound / slowest.gb_per_s, len(pairs), place=where)
        if slowest.interval.low < bound:
            return ProbeAnswer("pairs", Verdict.INCONCLUSIVE, words, bound / slowest.gb_per_s, len(pairs))
    odd, ranks, margin = _odd_one(ordered, starts)
    if odd:
        where = devices_in_words(ranks, starts)
        return ProbeAnswer("pairs", Verdict.FAIL, f"{odd}; {words}", margin, len(pairs), place=where)
    specified = find_rate(cell.rates, SEND_RECV, SPECIFICATION, between=between)
    share = f", {slowest.gb_per_s / specified.rate:.0%} of the specified" if specified is not None else ""
    return ProbeAnswer("pairs", Verdict.PASS, f"{words}{share}", margin, len(pairs))


def least_rate(cell: Cell, between: str) -> tuple[float | None, str]:
    """Return the least rate of a pair in GB/s, and where it is from; None if nothing is published."""
    measured = find_rate(cell.rates, SEND_RECV, MEASURED, between=between)
    if measured is not None:
        return measured.rate * MEASURED_SHARE, f"{MEASURED_SHARE:g} x published"
    stated = find_rate(cell.rates, SEND_RECV, SPECIFICATION, between=between)
    if stated is not None and between == HOSTS:
        return stated.rate * NETWORK_SHARE, f"{NETWORK_SHARE:g} x the stated {_in_unit(stated.rate, between)}"
    return None, ""


def _odd_one(ordered: Sequence[PairRate], starts: Mapping[int, Start]) -> tuple[str, Sequence[int], float]:
    """Return what falls behind all others, "" for nothing, its ranks, and how far the slowest is: above 1 is odd."""
    by_rank: dict[int, PairRate] = {}
    for pair in ordered:  # the fastest comes last
        by_rank.update(dict.fromkeys(pair.ranks, pair))
    if len(by_rank) > 3:
        slow, next_slow = sorted(by_rank, key=lambda rank: by_rank[rank].gb_per_s)[:2]
        if by_rank[slow].interval.high < ODD_PAIR * by_rank[next_slow].interval.low:
            words = f"{place_of(slow, starts)} is slow with every other, at most {_rate(by_rank[slow])}"
            return words, [slow], ODD_PAIR * by_rank[next_slow].gb_per_s / by_rank[slow].gb_per_s
    if len(ordered) < _NAMED:
        return "", (), 0.0
    slowest, other = ordered[:2]
    margin = ODD_PAIR * other.gb_per_s / slowest.gb_per_s
    if slowest.interval.high < ODD_PAIR * other.interval.low:
        words = f"{_named(slowest, starts)} fall behind: {_rate(slowest)}, the next slower pair {_rate(other)}"
        return words, slowest.ranks, margin
    return "", (), min(margin, 1.0)


def links_line(evidence: Evidence, cell: Cell) -> ProbeVerdict | None:
    """Return the links probe of a run in one line; None if it was not made."""
    questions = (judge_results(evidence), judge_buckets(evidence), judge_latency(evidence), judge_pairs(evidence, cell))
    answers = [one for one in questions if one is not None]
    if not answers:
        return None
    right = answers[0].figures["right"]
    points = timed(evidence, ALL_REDUCE)
    fastest = [f"all-reduce {points[-1].gb_per_s:.3g} GB/s at {shown_bytes(points[-1].case.bytes)}"] if points else []
    slowest = _slowest(pair_rates(evidence))
    shown = [*fastest, *(f"slowest pair of {pair.between} {_rate(pair)}" for pair in slowest)]
    bounds = [
        f"{pair.between} >= {_in_unit(bound, pair.between)}"
        for pair in slowest
        for bound in [least_rate(cell, pair.between)[0]]
        if bound is not None
    ]
    passed = "; ".join([right, *shown])
    line = in_one_line(answers, passed=passed, bound="; ".join(["results exact", *bounds]))
    return replace(line, measured=passed)


def _asked(evidence: Evidence) -> LinksDone | None:
    """Return what one rank says of the whole probe; None if the run has none."""
    return next((rank.links_done for rank in evidence.ranks if rank.links_done is not None), None)


def _unless_left_out(answer: ProbeAnswer, done: LinksDone, what: str) -> ProbeAnswer:
    """Return the answer; a pass is missing if the budget left out a case whose name begins so."""
    left = [one for one in done.not_asked if one.startswith(what)]
    if answer.verdict is not Verdict.PASS or not left:
        return answer
    return replace(answer, verdict=Verdict.MISSING, reason=f"{_cut(done, what)}; {answer.reason}")


def _cut(done: LinksDone, what: str = "") -> str:
    left = [one for one in done.not_asked if one.startswith(what)]
    return f"not asked within the budget of {done.budget_s:g} s: {_some(left)}" if left else "found none"


def _named(pair: PairRate, starts: Mapping[int, Start]) -> str:
    return " and ".join(place_of(rank, starts) for rank in pair.ranks)


def _rate(pair: PairRate) -> str:
    return _in_unit(pair.gb_per_s, pair.between)


def _in_unit(gb_per_s: float, between: str) -> str:
    """Networks are stated in Gb/s."""
    return f"{gb_per_s * 8:.4g} Gb/s" if between == HOSTS else f"{gb_per_s:.4g} GB/s"


def _span(interval: Interval) -> str:
    return f"{interval.low:.3g} to {interval.high:.3g}"


def _some(words: Sequence[str]) -> str:
    more = f"; {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return "; ".join(words[:_NAMED]) + more
