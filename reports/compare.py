"""Compares two runs, or the runs of two releases: `python -m reports compare A B`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.errors import EvidenceError
from evidence.files import RUN_FILE
from evidence.text import visible
from evidence.verdict import Interval
from expected import METRICS, Device
from reports.console import aligned
from verdict.compare.ab_comparison import ABComparison, compare_groups, compare_runs, holm, least_p
from verdict.compare.comparability import (
    Candidate,
    circumstances,
    differing,
    invalid_because,
    operator_bits,
    read_provenance,
    refusals,
)
from verdict.judge import judge_stored
from verdict.metrics.throughput import RATES, RateSamples, rate_samples
from verdict.wording import measured

if TYPE_CHECKING:
    from reports.history.queries import StoredRun

SIGNIFICANT = 0.05

_HEADINGS = ("metric", "A", "B", "B / A", "95 % interval", "effect (g)", "p", "p (Holm)", "in words")
_OF_ONE_RUN = (
    "p and interval say how surely these two runs differ, from the scatter within each. What differs from run to run, "
    "of the same release too, is in neither: compare releases with --by release for that."
)
_ONE_NUMBER = "one number a run: significance cannot be computed from one run each"
_TOO_FEW = "too few steps for an interval: significance cannot be computed"


@dataclass(frozen=True)
class Side:
    """One run: what it measured by metric, and the samples of its rates, if its folder exists.

    `shown` names the run and its place.
    """

    candidate: Candidate
    shown: str
    values: Mapping[str, float] = field(hash=False)
    intervals: Mapping[str, Interval] = field(hash=False)
    versions: Mapping[str, str] = field(hash=False)
    samples: Mapping[str, RateSamples] = field(default_factory=dict, hash=False)
    why_no_samples: str = _TOO_FEW


@dataclass(frozen=True)
class Group:
    """The runs of one cell of two releases; `refused` has the reasons why they are not comparable."""

    cell_id: str
    releases: tuple[str, str]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    comparisons: tuple[ABComparison, ...]
    refused: tuple[str, ...]
    least_p: float


def side_of_folder(run_dir: Path, devices: Mapping[str, Device]) -> Side:
    """Return the run in a folder, judged by the shipped tables. Raises SuiteError if it is of no known cell."""
    judged = judge_stored(run_dir, devices)
    evidence, verdict = judged.evidence, judged.verdict
    metrics = {name: one for name, one in verdict.metrics.items() if one.measured is not None}
    facts = circumstances(evidence, metrics["p_core"].method if "p_core" in metrics else "")
    name = visible(run_dir.name if evidence.run is None else evidence.run.id)
    read_as = {"p_core": "p_core_host"} if facts.get("clock of p_core") == "host" else {}
    rates = {name: rate_samples(read_as.get(name, name), evidence) for name in metrics if name in RATES}
    return Side(
        Candidate(name, facts, verdict.restarts, invalid_because(verdict.outcome, verdict.reasons)),
        f"{name} in {visible(str(run_dir))}",
        {name: one.measured for name, one in metrics.items() if one.measured is not None},
        {name: one.interval for name, one in metrics.items() if one.interval is not None},
        _versions(evidence),
        {name: found for name, found in rates.items() if found is not None},
    )


def side_of_history(url: str, name: str, devices: Mapping[str, Device], runs: Path) -> Side:
    """Return the run of the history with this id or number: from its folder if that exists, else as it was entered."""
    from reports.history import queries
    from reports.history.database import open_history

    with open_history(url) as history, history.reading() as connection:
        found = queries.run(connection, name)
        versions = queries.versions_of(connection, found.number)
    for folder in (Path(found.folder), runs / Path(found.folder).name):
        if _is_run(folder, found.run_id):
            return side_of_folder(folder, devices)
    return Side(
        _candidate(found),
        f"{found.name} as the history has it",
        {name: one.measured for name, one in found.metrics.items() if one.measured is not None},
        {name: one.interval for name, one in found.metrics.items() if one.interval is not None},
        versions,
        why_no_samples=f"the folder of {found.name} is not there any more, and significance is computed from steps",
    )


def comparisons(first: Side, second: Side) -> Iterator[ABComparison]:
    """Yield the comparison of each metric that both runs measured, in the table's order."""
    for name in METRICS:
        if name not in first.values or name not in second.values:
            continue
        if name in first.samples and name in second.samples:
            yield compare_runs(name, first.samples[name], second.samples[name])
            continue
        why = _ONE_NUMBER
        if name in RATES:
            why = next(side.why_no_samples for side in (first, second) if name not in side.samples)
        one, other = first.values[name], second.values[name]
        yield ABComparison(name, one, other, other / one if one > 0 else None, why_not=why)


def read_groups(url: str, first: str, second: str, cell: str | None) -> list[Group]:
    """Return the runs of two releases by cell, protocol, and simulated or real; without invalid and restarted ones."""
    from reports.history import queries
    from reports.history.database import open_history

    with open_history(url) as history, history.reading() as connection:
        sides = [queries.runs(connection, cell=cell, release=label) for label in (first, second)]
    kinds: dict[tuple[str, str, bool], tuple[list[StoredRun], list[StoredRun]]] = {}
    for at, side in enumerate(sides):
        for run in side:
            if run.outcome != "invalid" and not run.restarts:
                kinds.setdefault((run.cell_id, run.protocol, run.simulated), ([], []))[at].append(run)
    return [_group((first, second), pair) for _, pair in sorted(kinds.items(), key=lambda one: one[0]) if all(pair)]


def run_lines(first: Side, second: Side) -> list[str]:
    """Return the comparison of two runs, which have to be comparable, as lines."""
    changed = [
        f"  {visible(name)}: {visible(one) or '-'} in A, {visible(other) or '-'} in B"
        for name, one, other in differing(first.versions, second.versions)
    ]
    return [
        *(f"A  {first.shown}", f"B  {second.shown}", ""),
        *_table(list(comparisons(first, second)), (first.intervals, second.intervals)),
        *("", *(["what else differs:", *changed, ""] if changed else []), _OF_ONE_RUN),
    ]


def group_lines(group: Group) -> list[str]:
    """Return the comparison of the runs of two releases, which have to be comparable, as lines."""
    lines = [
        f"{letter}  {visible(release)}: {len(names)} run{'s' * (len(names) != 1)} ({', '.join(names)})"
        for letter, release, names in zip("AB", group.releases, group.names)
    ]
    lines += ["", *_table(group.comparisons, ({}, {}))]
    if group.least_p > SIGNIFICANT:
        lines += ["", f"so few runs cannot show a difference: no p of theirs is less than {group.least_p:.2g}"]
    return lines


def _group(labels: tuple[str, str], sides: tuple[Sequence[StoredRun], Sequence[StoredRun]]) -> Group:
    every = [_candidate(run) for side in sides for run in side]
    refused = dict.fromkeys(reason for one in every[1:] for reason in refusals(every[0], one))
    found = []
    for name in METRICS if not refused else ():
        first, second = (
            [one.measured for run in side for one in [run.metrics.get(name)] if one and one.measured is not None]
            for side in sides
        )
        if first and second:
            found.append(compare_groups(name, first, second))
    names = tuple(run.name for run in sides[0]), tuple(run.name for run in sides[1])
    least = least_p(len(sides[0]), len(sides[1]))
    return Group(sides[0][0].cell_id, labels, names, tuple(found), tuple(refused), least)


def _candidate(run: StoredRun) -> Candidate:
    return Candidate(run.name, run.facts, run.restarts, invalid_because(run.outcome, run.reasons))


def _is_run(folder: Path, run_id: str) -> bool:
    try:
        return bool(json.loads((folder / RUN_FILE).read_text(encoding="utf-8")).get("id") == run_id)
    except (OSError, ValueError, AttributeError):
        return False


def _versions(evidence: Evidence) -> dict[str, str]:
    try:
        origin = read_provenance(evidence)
    except EvidenceError:
        return {}
    return {**origin.versions, "driver": origin.driver, **operator_bits(evidence)}


def _table(found: Sequence[ABComparison], intervals: Sequence[Mapping[str, Interval]]) -> list[str]:
    corrected = holm({one.metric: one.p for one in found if one.p is not None})
    rows = [_HEADINGS, *(_row(one, corrected.get(one.metric), intervals) for one in found)]
    lines = [line.text for line in aligned(rows)]
    explained = [f"{one.metric}: {one.why_not}" for one in found if one.why_not]
    return [*lines, "", *explained] if explained else lines


def _row(one: ABComparison, p: float | None, intervals: Sequence[Mapping[str, Interval]]) -> tuple[str, ...]:
    unit = METRICS[one.metric].unit
    first, second = (
        measured(value, of_side.get(one.metric), unit) for value, of_side in zip((one.first, one.second), intervals)
    )
    return (
        *(one.metric, first, second),
        "-" if one.ratio is None else f"{one.ratio:.4f}",
        "-" if one.interval is None else f"{one.interval.low:.4f} to {one.interval.high:.4f}",
        "-" if one.effect is None else f"{one.effect:+.2f}",
        "-" if one.p is None else f"{one.p:.4f}",
        "-" if p is None else f"{p:.4f}",
        _in_words(replace(one, p=p)),
    )


def _in_words(one: ABComparison) -> str:
    if one.p is None or one.ratio is None:
        return "unknown"
    if one.p >= SIGNIFICANT:
        return "no difference shown"
    better = (one.ratio > 1) == (METRICS[one.metric].better == "higher")
    return f"B is {'better' if better else 'worse'} by {abs(one.ratio - 1):.1%}"
