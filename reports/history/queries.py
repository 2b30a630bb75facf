"""Queries: the runs in a list, one run, and the time series of every metric over many runs."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, replace
from typing import Any, Mapping, Optional, Sequence, Tuple

import sqlalchemy as sa

from evidence.run_file import UNJUDGED
from evidence.text import visible
from evidence.verdict import Interval
from reports.history import HistoryError
from reports.history.tables import METRICS, RUNS, VERSIONS

Limits = Tuple[Optional[float], Optional[float], Optional[float]]
"""Of a metric: its low and its high bound, and the published number."""

_NAMED_AT_MOST = 5
_AT_ONCE = 500  # numbers in one question; SQLite takes 999 in older versions


@dataclass(frozen=True)
class Value:
    """A metric of a run; `low` and `high` are its interval's ends, None without one."""

    measured: float | None
    unit: str
    low: float | None
    high: float | None

    @property
    def interval(self) -> Interval | None:
        """The confidence interval, if it has one."""
        return None if self.low is None or self.high is None else Interval(self.low, self.high)


@dataclass(frozen=True)
class StoredRun:
    """A run as it was entered: `facts` of `circumstances()`, `metrics` its values by name."""

    number: int
    run_id: str
    folder: str
    cell_id: str
    protocol: str
    simulated: bool
    restarts: int
    outcome: str
    reasons: tuple[str, ...]
    started_utc: str
    release: str
    facts: Mapping[str, str] = field(hash=False)
    metrics: Mapping[str, Value] = field(hash=False)

    @property
    def name(self) -> str:
        """The run's id as it may be shown."""
        return visible(self.run_id)


def runs(
    connection: sa.Connection,
    *,
    device: str | None = None,
    cell: str | None = None,
    release: str | None = None,
    limit: int | None = None,
) -> list[StoredRun]:
    """Return the selected runs, the newest first."""
    chosen = sa.select(RUNS).order_by(RUNS.c.started_utc.desc(), RUNS.c.number.desc())
    for column, wanted in ((RUNS.c.device, device), (RUNS.c.cell_id, cell), (RUNS.c.release_label, release)):
        if wanted is not None:
            chosen = chosen.where(column == wanted)
    return _with_metrics(connection, chosen if limit is None else chosen.limit(limit))


def run(connection: sa.Connection, name: str) -> StoredRun:
    """Return the run of that id or number. Raises HistoryError if there is none, or if there are several."""
    found = _with_metrics(connection, sa.select(RUNS).where(RUNS.c.run_id == name))
    if not found and name.isascii() and name.isdigit() and len(name) < 10:
        found = _with_metrics(connection, sa.select(RUNS).where(RUNS.c.number == int(name)))
    if len(found) == 1:
        return found[0]
    if not found:
        raise HistoryError(
            f"{visible(name)}: found neither a run's folder nor a run of the history with this id or number; "
            "python -m reports history lists them"
        )
    listed = ", ".join(f"{one.number} ({visible(one.folder)})" for one in found[:_NAMED_AT_MOST])
    raise HistoryError(
        f"{visible(name)}: found {len(found)} runs of this id in the history; name one by number: {listed}"
    )


def cells(connection: sa.Connection) -> list[str]:
    """Return the ids of the cells that have runs."""
    return sorted(connection.execute(sa.select(RUNS.c.cell_id).distinct()).scalars())


def attempts(
    connection: sa.Connection, cell: str, *, release: str | None, before_utc: str = "", besides: str = ""
) -> list[str]:
    """Return the outcomes of the runs of a cell under a release label, the oldest first: the gate's, else the run's.

    Those of UNJUDGED protocols are no attempts.
    With `before_utc` only of those that started earlier, and without the run `besides`. A `release` of None is the
    label under which that run was entered, "" if it was not.
    """
    if release is None:
        labels = connection.execute(sa.select(RUNS.c.release_label).where(RUNS.c.run_id == besides)).scalars().all()
        release = labels[-1] if labels else ""
    chosen = sa.select(RUNS.c.gate, RUNS.c.outcome).where(
        RUNS.c.cell_id == cell,
        RUNS.c.release_label == release,
        RUNS.c.run_id != besides,
        # Followed by the optimizations that were switched off, if any.
        *(sa.not_(RUNS.c.protocol.startswith(protocol)) for protocol in UNJUDGED),
    )
    if before_utc:
        chosen = chosen.where(RUNS.c.started_utc < before_utc)
    return [row.gate or row.outcome for row in connection.execute(chosen.order_by(RUNS.c.started_utc, RUNS.c.number))]


def _with_metrics(connection: sa.Connection, chosen: sa.Select) -> list[StoredRun]:
    rows = connection.execute(chosen).all()
    numbers = [row.number for row in rows]
    metrics: dict[int, dict[str, Value]] = {number: {} for number in numbers}
    names = ("run", "metric", "measured", "unit", "interval_low", "interval_high")
    columns = sa.select(*(METRICS.c[name] for name in names))
    for at in range(0, len(numbers), _AT_ONCE):
        asked = columns.where(METRICS.c.run.in_(numbers[at : at + _AT_ONCE]))
        for number, metric, *value in connection.execute(asked):
            metrics[number][metric] = Value(*value)
    return [_stored(row, metrics[row.number]) for row in rows]


def _stored(row: Any, metrics: Mapping[str, Value]) -> StoredRun:
    same = ("number", "run_id", "folder", "cell_id", "protocol", "simulated", "restarts", "outcome", "started_utc")
    return StoredRun(
        **{name: getattr(row, name) for name in same},
        reasons=tuple(json.loads(row.reasons or "[]")),
        release=row.release_label,
        facts=json.loads(row.circumstances or "{}"),
        metrics=metrics,
    )


@dataclass(frozen=True)
class TimeSeries:
    """Runs of one kind in the order in which they started; `values` has one entry a run for each metric.

    `limits` has of each metric (low, high, published) as the newest run was judged; None on a side without a bound.
    """

    cell_id: str
    protocol: str
    simulated: bool
    run_ids: Sequence[str]
    started_utc: Sequence[str]
    releases: Sequence[str]
    versions: Sequence[Mapping[str, str]]
    values: Mapping[str, Sequence[float | None]]
    left_out: int
    limits: Mapping[str, Limits] = field(default_factory=dict)


def time_series(connection: sa.Connection, cell: str | None = None) -> list[TimeSeries]:
    """Return all runs by cell, protocol and simulated or real; what was invalid or restarted is only counted."""
    kind = ("cell_id", "protocol", "simulated")
    names = ("number", *kind, "outcome", "restarts", "run_id", "started_utc", "release_label")
    chosen = sa.select(*(RUNS.c[name] for name in names)).order_by(RUNS.c.started_utc, RUNS.c.number)
    chosen = chosen if cell is None else chosen.where(RUNS.c.cell_id == cell)
    groups: dict[tuple[str, str, bool], list[Any]] = {}
    for row in connection.execute(chosen).all():
        groups.setdefault((row.cell_id, row.protocol, row.simulated), []).append(row)
    measured = _values(connection, cell)
    versions = _versions(connection, cell)
    return [
        replace(_series_of(key, rows, measured, versions), limits=_limits(connection, rows[-1].number))
        for key, rows in sorted(groups.items())
    ]


def _limits(connection: sa.Connection, number: int) -> dict[str, Limits]:
    columns = (METRICS.c.metric, METRICS.c.low, METRICS.c.high, METRICS.c.expected)
    found = connection.execute(sa.select(*columns).where(METRICS.c.run == number)).all()
    return {row.metric: (row.low, row.high, row.expected) for row in found}


def _series_of(
    key: tuple[str, str, bool],
    rows: Sequence[Any],
    measured: Mapping[str, Mapping[int, float]],
    versions: Mapping[int, Mapping[str, str]],
) -> TimeSeries:
    kept = [row for row in rows if row.outcome != "invalid" and not row.restarts]
    values = {name: [found.get(row.number) for row in kept] for name, found in measured.items()}
    return TimeSeries(
        *key,
        run_ids=[row.run_id for row in kept],
        started_utc=[row.started_utc for row in kept],
        releases=[row.release_label for row in kept],
        versions=[versions.get(row.number, {}) for row in kept],
        values={name: series for name, series in values.items() if any(one is not None for one in series)},
        left_out=len(rows) - len(kept),
    )


def _values(connection: sa.Connection, cell: str | None) -> dict[str, dict[int, float]]:
    chosen = _of_cell(sa.select(METRICS.c.run, METRICS.c.metric, METRICS.c.measured), METRICS, cell)
    measured: dict[str, dict[int, float]] = {}
    # fetchall, here and below: iterating over the result takes twice the time.
    for number, metric, value in connection.execute(chosen.where(METRICS.c.measured.is_not(None))).all():
        measured.setdefault(metric, {})[number] = value
    return measured


def _versions(connection: sa.Connection, cell: str | None) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    # As they are stored, since nearly all are the same few texts.
    raw = (sa.type_coerce(VERSIONS.c[name], sa.Text) for name in ("name", "version"))
    as_it_was = functools.lru_cache(maxsize=None)(VERSIONS.c.version.type.process_result_value)
    for number, name, version in connection.execute(_of_cell(sa.select(VERSIONS.c.run, *raw), VERSIONS, cell)).all():
        found.setdefault(number, {})[as_it_was(name, None)] = as_it_was(version, None)
    return found


def _of_cell(chosen: sa.Select, table: sa.Table, cell: str | None) -> sa.Select:
    return chosen if cell is None else chosen.join(RUNS, RUNS.c.number == table.c.run).where(RUNS.c.cell_id == cell)


def versions_of(connection: sa.Connection, number: int) -> dict[str, str]:
    """Return the versions that a run was made with, by name."""
    found = connection.execute(sa.select(VERSIONS.c.name, VERSIONS.c.version).where(VERSIONS.c.run == number))
    return {row.name: row.version for row in found}
