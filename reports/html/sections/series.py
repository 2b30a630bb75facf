"""Reduces the time series of a run to the few hundred points of a chart, in which highs and lows stay visible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence

import numpy as np

from evidence.events.rank import RankEvidence, Windows

BUCKETS = 240
"""Parts that a chart's width is cut into; each shows its lowest and its highest value."""
STALL = 2.0
"""A window is a stall if its steps took more than this many times the rank's median step time."""

Values = List[Optional[float]]


@dataclass(frozen=True, eq=False)
class Spans:
    """Values that each hold from `begin_s` to `end_s`, ascending, float64, in s since training began on the rank."""

    begin_s: np.ndarray
    end_s: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Losses:
    """The losses of all ranks by step: lowest, median and highest of each block of steps; NaN if none is finite.

    `not_finite` has the first (rank, step) whose loss is not finite, and `count` how many there are.
    """

    step: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    not_finite: tuple[int, int] | None
    count: int


@dataclass(frozen=True)
class Stall:
    """A window in which a rank's steps took far longer than usual: `lost_s` in all, most of it by `cause`.

    The times are in s since training began; `step` is the first of the window on `rank`.
    """

    begin_s: float
    end_s: float
    rank: int
    step: int
    lost_s: float
    cause: str


def zero_ns(rank: RankEvidence) -> int | None:
    """Return the origin of a rank's times: the beginning of its training, or else its start; None without either.

    All ranks synchronise there, so that times of different ranks can be drawn side by side.
    """
    if rank.train_begin_ns is not None:
        return rank.train_begin_ns
    return None if rank.start is None else rank.start.t_ns


def window_spans(rank: RankEvidence) -> tuple[np.ndarray, np.ndarray]:
    """Return begin and end of each window of a rank in s since training began."""
    windows = rank.windows
    end_s = (windows.t_ns.astype(float) - float(zero_ns(rank) or 0)) / 1e9
    return end_s - windows.wall_ns.astype(float) / 1e9, end_s


def rank_rates(rank: RankEvidence) -> Spans:
    """Return the images per second of one rank, window by window."""
    begin_s, end_s = window_spans(rank)
    return Spans(begin_s, end_s, _per_s(_by_window(rank.windows), rank.windows.wall_ns.astype(float)))


def run_rates(ranks: Sequence[RankEvidence]) -> Spans:
    """Return the images per second of all ranks: images of a window over its longest wall time on a rank.

    Only windows that every rank wrote are there, at the times of the first rank.
    """
    ranks = [rank for rank in ranks if rank.windows.steps]
    if not ranks:
        return Spans(*(np.zeros(0) for _ in range(3)))
    # The same on all ranks; warm-up steps have an index of their own.
    keys = [np.where(rank.windows.warmup, -1 - rank.windows.step, rank.windows.step) for rank in ranks]
    common = keys[0]
    for other in keys[1:]:
        common = np.intersect1d(common, other)
    images = np.zeros(len(common))
    wall_ns = np.zeros(len(common))
    for rank, key in zip(ranks, keys):
        at = _positions(key, common)
        images += _by_window(rank.windows)[at]
        wall_ns = np.maximum(wall_ns, rank.windows.wall_ns[at].astype(float))
    first = _positions(keys[0], common)
    begin_s, end_s = window_spans(ranks[0])
    order = np.argsort(end_s[first], kind="stable")
    return Spans(begin_s[first][order], end_s[first][order], _per_s(images, wall_ns)[order])


def samples(t_ns: np.ndarray, values: np.ndarray, zero: int) -> Spans:
    """Return the samples taken at `t_ns` as spans, each up to halfway to its neighbours; NaN is left out."""
    known = ~np.isnan(values)
    order = np.argsort(t_ns[known], kind="stable")
    at_s = (t_ns[known][order].astype(float) - float(zero)) / 1e9
    # The last value before a gap does not hold throughout the gap.
    longest_s = 1.5 * float(np.median(np.diff(at_s))) if len(at_s) > 1 else 0.5
    half_s = np.minimum(np.diff(at_s) / 2, longest_s)
    return Spans(at_s - np.append(longest_s, half_s), at_s + np.append(half_s, longest_s), values[known][order])


def on_grid(
    lines: Sequence[Spans], buckets: int = BUCKETS, also_s: Sequence[float] = ()
) -> tuple[list[float], list[Values]]:
    """Put several lines on one axis of time: (x, values of each), two values a bucket, None if a line has none there.

    Whatever holds within a bucket counts, so that a single high or low value among thousands remains a spike. The axis
    reaches from the first to the last of the lines' times and of `also_s`.
    """
    lines_with = [line for line in lines if len(line.values)]
    if not lines_with:
        return [], [[] for _ in lines]
    low = min([float(line.begin_s.min()) for line in lines_with] + list(also_s))
    high = max([float(line.end_s.max()) for line in lines_with] + list(also_s))
    edges = np.linspace(low, high if high > low else low + 1, buckets + 1)
    quarter = (edges[1] - edges[0]) / 4
    x = np.stack((edges[:-1] + quarter, edges[1:] - quarter), axis=1).ravel()
    return x.tolist(), [_in_buckets(line, edges) for line in lines]


def losses(ranks: Sequence[RankEvidence], buckets: int = 2 * BUCKETS) -> Losses | None:
    """Return the losses of all ranks, in at most `buckets` blocks of steps; None if no rank took a step."""
    ranks = [rank for rank in ranks if rank.windows.steps]
    if not ranks:
        return None
    steps = max(rank.windows.steps for rank in ranks)
    size = -(-steps // buckets)
    count = -(-steps // size)
    table = np.full((len(ranks), count * size), np.nan)
    for row, rank in zip(table, ranks):
        row[: rank.windows.steps] = rank.windows.loss
    wrong, first = 0, None
    for row, rank in zip(table, ranks):
        bad = (~np.isfinite(row[: rank.windows.steps])).nonzero()[0]
        wrong += len(bad)
        row[: rank.windows.steps][bad] = np.nan
        if len(bad) and (first is None or bad[0] < first[1]):
            first = rank.rank, int(bad[0])
    blocks = np.sort(table.reshape(len(ranks), count, size).transpose(1, 0, 2).reshape(count, -1), axis=1)
    known = np.isfinite(blocks).sum(axis=1)  # NaN is sorted to the end
    at = np.arange(count)
    offset = int(ranks[0].windows.step[0])
    return Losses(
        step=offset + at * size + (size - 1) / 2 if size > 1 else offset + at,
        low=blocks[:, 0],
        middle=blocks[at, np.maximum(known - 1, 0) // 2],
        high=blocks[at, np.maximum(known - 1, 0)],
        not_finite=None if first is None else (first[0], first[1] + offset),
        count=wrong,
    )


def stalls(ranks: Sequence[RankEvidence]) -> list[Stall]:
    """Return the stalls of the measured windows, in the order of time; those of several ranks at one time are one.

    While one rank waits for data or in its forward pass, the others wait in the all-reduce of their backward pass: the
    cause of a stall that several ranks saw is that of the rank that lost most outside of compute.
    """
    found = sorted((stall for rank in ranks for stall in _stalls(rank)), key=lambda one: (one.begin_s, one.rank))
    merged: list[list[Stall]] = []
    for stall in found:
        if merged and stall.begin_s < max(one.end_s for one in merged[-1]):
            merged[-1].append(stall)
        else:
            merged.append([stall])
    return [_one_stall(group) for group in merged]


def listed(values: np.ndarray) -> Values:
    """Return the values as a chart takes them: None for NaN and inf."""
    return [value if known else None for value, known in zip(values.tolist(), np.isfinite(values).tolist())]


def _by_window(windows: Windows) -> np.ndarray:
    """Return the images of each window, float64."""
    if not windows.steps:
        return np.zeros(0)
    starts = np.cumsum(windows.size) - windows.size
    return np.add.reduceat(windows.images, starts).astype(float)


def _per_s(images: np.ndarray, time_ns: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(time_ns > 0, images * 1e9 / time_ns, np.nan)


def _positions(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(keys, kind="stable")
    return order[np.searchsorted(keys[order], wanted)]


def _in_buckets(line: Spans, edges: np.ndarray) -> Values:
    if not len(line.values):
        return [None] * (2 * (len(edges) - 1))
    # Clocks of damaged evidence may jump; both ends have to ascend for the search.
    begin_s, end_s = np.maximum.accumulate(line.begin_s), np.maximum.accumulate(line.end_s)
    first = np.searchsorted(end_s, edges[:-1], side="right")
    last = np.searchsorted(begin_s, edges[1:], side="left")
    pairs = np.stack((first, np.maximum(first + 1, last)), axis=1).ravel()
    padded = np.append(line.values, [np.nan, np.nan])
    pairs = np.minimum(pairs, len(padded) - 1)
    low, high = np.fmin.reduceat(padded, pairs)[::2], np.fmax.reduceat(padded, pairs)[::2]
    rising = padded[pairs[::2]] <= padded[np.maximum(pairs[1::2] - 1, pairs[::2])]
    both = np.stack((np.where(rising, low, high), np.where(rising, high, low)), axis=1)
    both[first >= last] = np.nan
    return listed(both.ravel())


def _stalls(rank: RankEvidence) -> list[Stall]:
    chosen = ~rank.windows.warmup
    windows = rank.windows.measured
    if not windows.steps:
        return []
    size = windows.size.astype(float)
    starts = np.cumsum(windows.size) - windows.size
    parts = {
        "data": windows.wait_ns / size,
        "copy": windows.copy_ns / size,
        "compute": np.add.reduceat(windows.compute_ns, starts) / size,
    }
    wall = windows.wall_ns / size
    parts["host"] = wall - sum(parts.values())
    usual = float(np.median(wall))
    slow = (wall > STALL * usual).nonzero()[0]
    begin_s, end_s = (times[chosen] for times in window_spans(rank))
    found = []
    for at in slow:
        lost = {name: float(values[at] - np.median(values)) for name, values in parts.items()}
        cause = max(lost, key=lambda name: lost[name])
        lost_s = float((wall[at] - usual) * size[at] / 1e9)
        found.append(Stall(float(begin_s[at]), float(end_s[at]), rank.rank, int(windows.step[at]), lost_s, cause))
    return found


def _one_stall(group: Sequence[Stall]) -> Stall:
    cause = max(group, key=lambda one: (one.cause != "compute", one.lost_s))
    begin_s, end_s = min(one.begin_s for one in group), max(one.end_s for one in group)
    return Stall(begin_s, end_s, cause.rank, cause.step, cause.lost_s, cause.cause)


def histogram(times: np.ndarray, bins: int = 60) -> tuple[np.ndarray, np.ndarray, int]:
    """(middles, counts, how many beyond): a few far-off values, above the 99.5th percentile, do not set the scale.

    They are counted in the last bar.
    """
    top = float(np.percentile(times, 99.5))
    low, high = float(times.min()), max(top, float(np.median(times)) * 1.001)
    room = (high - low) * 0.02 or abs(high) * 0.01 or 1.0
    edges = np.linspace(low - room, high + room, min(bins, max(8, len(times) // 4)) + 1)
    counts = np.histogram(np.minimum(times, edges[-1]), edges)[0]
    return (edges[:-1] + edges[1:]) / 2, counts, int((times > edges[-1]).sum())
