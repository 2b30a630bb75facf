"""Compares two runs, or the runs of two releases: `python -m reports compare A B`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.codec import encode
from evidence.errors import EvidenceError
from evidence.files import RUN_FILE
from evidence.text import visible
from expected import METRICS, Device
from reports.lines import Line, aligned
from verdict.compare.ab_comparison import POWER, ABComparison, compare_groups, compare_runs, tests_of
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
from verdict.metrics.statistics import BETWEEN_RUNS
from verdict.metrics.throughput import RATES, RateSamples, rate_samples
from verdict.wording import counted, percent, quantity

if TYPE_CHECKING:
    from reports.history.queries import StoredRun

_HEADINGS = ("metric", "A", "B", "B / A", "95 % interval", "B is")
_OF_ONE_RUN = (
    "Interval and p assume that a rate differs from run to run, of the same release too, by {between} (standard "
    "deviation), which two runs cannot show: compare releases by several runs each, with --by release."
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
        versions,
        why_no_samples=f"the folder of {found.name} is not there any more, and significance is computed from steps",
    )


def worse(found: Sequence[ABComparison]) -> list[str]:
    """Return the metrics of which B is shown to be worse than A."""
    return [one.metric for one in found if one.answer(tests_of(found)) == "worse"]


def comparison_records(found: Sequence[ABComparison]) -> list[dict[str, Any]]:
    """Return what the table shows of each metric, as JSON."""
    tests = tests_of(found)
    return [
        {
            "metric": one.metric,
            "unit": METRICS[one.metric].unit,
            "a": one.first,
            "b": one.second,
            "ratio": one.ratio,
            "interval": encode(one.interval(tests)),
            "p": one.p(tests),
            "detectable": one.detectable(tests),
            "shown": _shown(one, tests),
            "words": _in_words(one, tests),
        }
        for one in found
    ]


def comparisons(first: Side, second: Side) -> Iterator[ABComparison]:
    """Yield the comparison of each metric that both runs measured, in the table's order."""
    for name in METRICS:
        if name not in first.values or name not in second.values:
            continue
        if name in first.samples and name in second.samples:
            yield compare_runs(name, first.samples[name], second.samples[name], _between(first))
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


def run_lines(first: Side, second: Side, found: Sequence[ABComparison]) -> list[Line | str]:
    """Return the comparison of two runs, which have to be comparable, as lines; `found` are its metrics."""
    changed = [
        f"  {visible(name)}: {visible(one) or '-'} in A, {visible(other) or '-'} in B"
        for name, one, other in differing(first.versions, second.versions)
    ]
    return [
        *(f"A  {first.shown}", f"B  {second.shown}", ""),
        *_table(found),
        *("", *(["what else differs:", *changed, ""] if changed else [])),
        _OF_ONE_RUN.format(between=percent(_between(first))),
    ]


def _between(side: Side) -> float:
    """Return how much a rate is assumed to differ from run to run; simulated time does not."""
    return 0.0 if side.candidate.facts.get("device is") == "simulated" else BETWEEN_RUNS


def group_lines(group: Group) -> list[Line | str]:
    """Return the comparison of the runs of two releases, which have to be comparable, as lines."""
    lines = [
        f"{letter}  {visible(release)}: {counted(len(names), 'run')} ({', '.join(names)})"
        for letter, release, names in zip("AB", group.releases, group.names)
    ]
    return [*lines, "", *_table(group.comparisons)]


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
    return Group(sides[0][0].cell_id, labels, names, tuple(found), tuple(refused))


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


def _table(found: Sequence[ABComparison]) -> list[Line | str]:
    tests = tests_of(found)
    lines: list[Line | str] = [*aligned([_HEADINGS, *(_row(one, tests) for one in found)])]
    lines += ["", *(f"{one.metric}: {_in_words(one, tests)}" for one in found)]
    if tests > 1:
        lines += ["", f"Interval and p are corrected for {tests} metrics that are compared at once (Bonferroni)."]
    return lines


def _row(one: ABComparison, tests: int) -> tuple[str, ...]:
    unit, interval = METRICS[one.metric].unit, one.interval(tests)
    return (
        *(one.metric, quantity(one.first, unit), quantity(one.second, unit)),
        "-" if one.ratio is None else f"{one.ratio:.4f}",
        "-" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}",
        _shown(one, tests),
    )


def _shown(one: ABComparison, tests: int) -> str:
    answer = one.answer(tests)
    return "not shown to differ" if answer == "same" else answer


def _in_words(one: ABComparison, tests: int) -> str:
    """Return what is shown and how surely; where nothing is, which difference would have been shown."""
    p, detectable = one.p(tests), one.detectable(tests)
    if one.ratio is None or p is None or detectable is None:
        return one.why_not
    if one.differs(tests):
        effect = "" if one.effect is None else f", effect {one.effect:+.2f} (Hedges' g)"
        return f"B is {one.answer(tests)} by {percent(abs(one.ratio - 1))} (p {_p_text(p)}{effect})"
    if detectable == 0:
        return "the same in all"
    power = f"one of {percent(detectable)} or more would be in {100 * POWER:.0f} % of such comparisons"
    return f"no difference shown (p {_p_text(p)}); {power}"


def _p_text(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
