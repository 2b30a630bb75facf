"""Measures a run that has not ended, by the functions that measure one that has: on the evidence as if it ended here.

Every rank is cut where the slowest one is, so that all of them have done as many windows of steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Mapping, Sequence

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.events.state import End
from evidence.events.training import LEDGER_PARTS, TrainEnd
from expected import ALL_METRICS
from verdict.metrics.measure import measure
from verdict.metrics.measurement import Measurement

_BY_EVALUATION = ("p_whole",)
"""Of whole epochs only: in the middle of one, the evaluation that belongs to its images is yet to come."""


def measure_so_far(evidence: Evidence, ranks: int) -> Mapping[str, Measurement]:
    """Return what the run has measured, by metric; `ranks` is how many it has. A metric that has to wait is left out.

    >>> measure_so_far(GrowingRun(run_dir).read(), 8)["p_core"].value  # doctest: +SKIP
    190.1
    """
    if len(evidence.ranks) < ranks or not all(_has_begun(rank) for rank in evidence.ranks):
        return {}
    by_window, by_evaluation = _ended(evidence, _last_windows(evidence.ranks)), _last_evaluations(evidence.ranks)
    found = dict(measure(by_window, [name for name in ALL_METRICS if name not in _BY_EVALUATION]))
    if all(by_evaluation):
        found.update(measure(_ended(evidence, by_evaluation), _BY_EVALUATION))
    return {name: found[name] for name in (*ALL_METRICS, "p_core_host") if name in found}


def _has_begun(rank: RankEvidence) -> bool:
    return rank.start is not None and rank.train_begin_ns is not None and rank.windows.measured.steps > 0


def _last_windows(ranks: Sequence[RankEvidence]) -> list[int]:
    """When each rank wrote the last window that all of them have, ns; the end of training if all have ended it."""
    ends = [rank.train_end.t_ns for rank in ranks if rank.train_end is not None]
    if len(ends) == len(ranks):
        return ends
    windows = [rank.windows.measured.t_ns for rank in ranks]
    common = min(map(len, windows))
    return [int(times[common - 1]) for times in windows]


def _last_evaluations(ranks: Sequence[RankEvidence]) -> list[int]:
    """When each rank ended the last evaluation in training that all of them have, ns; 0 without one.

    The end of training if all have ended it.
    """
    if all(rank.train_end is not None for rank in ranks):
        return _last_windows(ranks)
    ends = [[one.end_ns for one in rank.evaluations if one.epoch >= 0] for rank in ranks]
    common = min(map(len, ends))
    return [times[common - 1] if common else 0 for times in ends]


def _ended(evidence: Evidence, ends_ns: Sequence[int]) -> Evidence:
    """Return the evidence as if each rank's training had ended then."""
    ranks = tuple(_cut(rank, end_ns) for rank, end_ns in zip(evidence.ranks, ends_ns))
    return replace(evidence, ranks=ranks)


def _cut(rank: RankEvidence, end_ns: int) -> RankEvidence:
    windows = rank.windows.select(rank.windows.t_ns <= end_ns)
    end = rank.train_end
    if end is None or end.t_ns > end_ns:
        inside = [one for one in rank.evaluations if one.epoch >= 0 and one.end_ns <= end_ns]
        evaluation_ns = sum(one.end_ns - one.begin_ns for one in inside)
        ledger = {**dict.fromkeys(LEDGER_PARTS, 0), "evaluation_ns": evaluation_ns}
        measured = windows.measured
        end = TrainEnd(int(measured.images.sum()), measured.steps, ledger, end_ns)
    latest_ns = max([end.t_ns, *(one.end_ns for one in rank.evaluations)])
    return replace(rank, windows=windows, train_end=end, end=rank.end or End("", latest_ns))
