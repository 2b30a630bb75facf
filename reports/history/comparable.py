"""The two sides of a comparison: a run's folder, a run of the history, or all runs of a release."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Sequence

from evidence.bundle import RUN_FILE, Evidence, read_run
from evidence.errors import EvidenceError
from expected import METRICS, Device
from reports.escapes import visible
from verdict.compare.ab_comparison import ABComparison, compare_groups, compare_runs, least_p
from verdict.compare.comparability import Candidate, circumstances, invalid_because, read_provenance, refusals
from verdict.judge import judge_run
from verdict.lookup import find_cell
from verdict.metrics.throughput import RATES, RateSamples, rate_samples

if TYPE_CHECKING:
    from reports.history.queries import StoredRun

_ONE_NUMBER = "one number a run: no significance can be told from one run each"
_TOO_FEW = "too few steps for an interval: no significance can be told"


@dataclass(frozen=True)
class Side:
    """One run. `values` has what it measured by metric, `samples` those of its rates, if its folder is there."""

    candidate: Candidate
    told: str
    values: Mapping[str, float] = field(hash=False)
    intervals: Mapping[str, list[float]] = field(hash=False)
    versions: Mapping[str, str] = field(hash=False)
    samples: Mapping[str, RateSamples] = field(default_factory=dict, hash=False)
    why_no_samples: str = _TOO_FEW


@dataclass(frozen=True)
class Group:
    """The runs of one cell of two releases; `refused` says why they are not comparable, if they are not."""

    cell_id: str
    releases: tuple[str, str]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    comparisons: tuple[ABComparison, ...]
    refused: tuple[str, ...]
    least_p: float


def side_of_folder(run_dir: Path, devices: Mapping[str, Device]) -> Side:
    """The run in a folder, judged by the shipped tables. Raises SuiteErrors where it is of no known cell."""
    evidence = read_run(run_dir)
    device, cell = find_cell(evidence, devices)
    verdict = judge_run(evidence, cell, backend=device.backend)
    metrics = {name: one for name, one in verdict.metrics.items() if one.measured is not None}
    p_core = metrics["p_core"].method if "p_core" in metrics else ""
    facts = circumstances(evidence, p_core)
    run = evidence.run
    name = visible(run_dir.name if run is None else run.id)
    candidate = Candidate(name, facts, verdict.restarts, invalid_because(verdict.outcome, verdict.reasons))
    read_as = {"p_core": "p_core_host"} if facts.get("clock of p_core") == "host" else {}
    rates = {name: rate_samples(read_as.get(name, name), evidence) for name in metrics if name in RATES}
    return Side(
        candidate,
        f"{name} in {visible(str(run_dir))}",
        {name: one.measured for name, one in metrics.items() if one.measured is not None},
        {name: [one.interval.low, one.interval.high] for name, one in metrics.items() if one.interval is not None},
        _versions(evidence),
        {name: found for name, found in rates.items() if found is not None},
    )


def side_of_history(url: str, name: str, devices: Mapping[str, Device], runs: Path) -> Side:
    """The run of the history with this id or number, from its folder if it is still there, else as it was entered."""
    from reports.history import queries
    from reports.history.database import open_history

    with open_history(url) as history, history.reading() as connection:
        found = queries.run(connection, name)
        versions = queries.versions_of(connection, found.number)
    for folder in (Path(found.folder), runs / Path(found.folder).name):
        if _is_run(folder, found.run_id):
            return side_of_folder(folder, devices)
    values = {name: one.measured for name, one in found.metrics.items() if one.measured is not None}
    intervals = {name: one.interval for name, one in found.metrics.items()}
    return Side(
        _candidate(found),
        f"{found.name} as the history has it",
        values,
        {name: ends for name, ends in intervals.items() if ends is not None},
        versions,
        why_no_samples=f"the folder of {found.name} is not there any more, and significance is told from steps",
    )


def comparisons(first: Side, second: Side) -> list[ABComparison]:
    """Each metric that both runs measured, in the table's order."""
    found = []
    for name in METRICS:
        if name not in first.values or name not in second.values:
            continue
        if name in first.samples and name in second.samples:
            found.append(compare_runs(name, first.samples[name], second.samples[name]))
            continue
        why = _ONE_NUMBER
        if name in RATES:
            why = next(side.why_no_samples for side in (first, second) if name not in side.samples)
        one, other = first.values[name], second.values[name]
        found.append(ABComparison(name, one, other, other / one if one > 0 else None, why_not=why))
    return found


def read_groups(url: str, first: str, second: str, cell: str | None) -> list[Group]:
    """The runs of two releases, by cell; those that are invalid, restarted or simulated otherwise are left out."""
    from reports.history import queries
    from reports.history.database import open_history

    with open_history(url) as history, history.reading() as connection:
        sides = [
            [
                run
                for run in queries.runs(connection, cell=cell, release=label)
                if run.outcome != "invalid" and not run.restarts
            ]
            for label in (first, second)
        ]
    kinds = [{(run.cell_id, run.protocol, run.simulated) for run in side} for side in sides]
    return [
        _group((first, second), [[run for run in side if _kind(run) == kind] for side in sides])
        for kind in sorted(kinds[0] & kinds[1])
    ]


def _kind(run: StoredRun) -> tuple[str, str, bool]:
    return run.cell_id, run.protocol, run.simulated


def _group(labels: tuple[str, str], sides: Sequence[Sequence[StoredRun]]) -> Group:
    every = [_candidate(run) for side in sides for run in side]
    refused = dict.fromkeys(reason for one in every[1:] for reason in refusals(every[0], one))
    found = []
    for name in METRICS if not refused else ():
        values = [
            [one.measured for run in side for one in [run.metrics.get(name)] if one and one.measured is not None]
            for side in sides
        ]
        if values[0] and values[1]:
            found.append(compare_groups(name, values[0], values[1]))
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
    return {**origin.versions, "driver": origin.driver}
