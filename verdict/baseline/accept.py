"""What a site may hold its next run against: the values that three runs or more of a cell agree on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Collection, Iterator, Mapping, Sequence

from evidence.bundle import read_run
from evidence.verdict import RunVerdict
from expected import UNPUBLISHED, Cell, Device
from expected.site import MIN_RUNS
from verdict.baseline.spread import AcceptedValue, AcceptError, accepted_value
from verdict.compare.provenance import Provenance, read_provenance
from verdict.judge import FAIL, INCONCLUSIVE, INVALID, judge_run
from verdict.lookup import find_cell, on_other_data
from verdict.metrics.measure import measure
from verdict.metrics.measurement import Measurement
from verdict.metrics.throughput import RATES
from verdict.wording import times

_REASONS_QUOTED = 3


@dataclass(frozen=True)
class Acceptance:
    """What was found to be acceptable of one cell; `left_out` says of the other unpublished metrics why they are not.

    `notes` are what a person should know before relying on it.
    """

    cell: Cell
    runs: tuple[Provenance, ...]
    values: tuple[AcceptedValue, ...]
    left_out: Mapping[str, str] = field(hash=False)
    notes: tuple[str, ...]


def accept_runs(run_dirs: Sequence[Path], devices: Mapping[str, Device], without: Collection[str] = ()) -> Acceptance:
    """What the runs in `run_dirs` agree on, metric by metric, except those in `without`.

    Raises AcceptError for too few runs, one that is invalid or given twice, runs that differ in more than chance, and
    metrics that scatter too much or are not measured; all reasons at once. Other SuiteErrors where a run cannot be
    read or is of no known cell.
    """
    if len(run_dirs) < MIN_RUNS:
        raise AcceptError(f"found {len(run_dirs)} runs, expected {MIN_RUNS} or more of the same cell")
    judged = [_judge(run_dir, devices) for run_dir in run_dirs]
    cell, runs = judged[0].cell, tuple(one.origin for one in judged)
    _refuse([*_twice(run_dirs, runs), *_other_cells(judged), *_invalid(judged), *_differing(runs)])
    values: list[AcceptedValue] = []
    left_out: dict[str, str] = {}
    problems: list[str] = []
    for name in (name for name in cell.applicable if cell.expectations[name].state == UNPUBLISHED):
        why = "left out by --without" if name in without else _unmeasured(name, judged)
        if why:
            left_out[name] = why
            continue
        try:
            values.append(_agreed(name, judged))
        except AcceptError as error:
            problems.append(str(error))
    _refuse(problems)
    if not values:
        why = "".join(f"; {name}: {reason}" for name, reason in left_out.items())
        raise AcceptError(
            f"{cell.id}: found nothing to accept, expected an unpublished metric that every run measured{why}"
        )
    return Acceptance(cell, runs, tuple(values), left_out, tuple(_notes(judged, values)))


@dataclass(frozen=True)
class _Judged:
    cell: Cell
    verdict: RunVerdict
    origin: Provenance
    doubts: Mapping[str, str]  # by metric


def _judge(run_dir: Path, devices: Mapping[str, Device]) -> _Judged:
    evidence = read_run(run_dir)
    device, cell = find_cell(evidence, devices)
    if on_other_data(evidence, device):
        raise AcceptError(
            f"{run_dir}: was given a data set with --data, expected the one that is generated for {cell.id}: what a "
            "site accepts stands for that one"
        )
    if cell.card is not None:
        raise AcceptError(
            f"{run_dir}: was made by --each-card, beside runs on the other cards, expected a run that had the machine "
            "to itself: make one with --topo 1x1"
        )
    verdict = judge_run(evidence, cell, backend=device.backend)
    if verdict.without:
        raise AcceptError(
            f"{run_dir}: was made without {', '.join(verdict.without)}, expected one with every optimization that the "
            "device can have: later runs are held against it"
        )
    if verdict.restarts:
        raise AcceptError(
            f"{run_dir}: was restarted {times(verdict.restarts)}, expected an unbroken run: only one is proof"
        )
    return _Judged(cell, verdict, read_provenance(evidence), _doubts(measure(evidence)))


def _unmeasured(name: str, judged: Sequence[_Judged]) -> str:
    """Why a run did not measure the metric; "" where all did."""
    missing = [one for one in judged if one.verdict.metrics[name].measured is None]
    return f"{missing[0].verdict.metrics[name].reason} ({missing[0].origin.run})" if missing else ""


def _agreed(name: str, judged: Sequence[_Judged]) -> AcceptedValue:
    _refuse([f"{name}: {one.origin.run} {one.doubts[name]}" for one in judged if name in one.doubts])
    measured = {one.origin.run: one.verdict.metrics[name].measured for one in judged}
    return accepted_value(name, {run: reading for run, reading in measured.items() if reading is not None})


def _doubts(measurements: Mapping[str, Measurement]) -> dict[str, str]:
    """Why a number that may not pass itself cannot be the measure of others, by metric."""
    doubts = {}
    for name, measurement in measurements.items():
        if name in RATES and measurement.interval is None:
            doubts[name] = f"comes from {measurement.n} steps, too few for a confidence interval"
        elif measurement.doubt:
            doubts[name] = measurement.doubt
    return doubts


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise AcceptError("\n".join(problems))


def _twice(run_dirs: Sequence[Path], runs: Sequence[Provenance]) -> Iterator[str]:
    seen: dict[str, Path] = {}
    for run_dir, run in zip(run_dirs, runs):
        if run.run in seen:
            yield f"{run_dir}: found the run {run.run} of {seen[run.run]} again, expected different runs"
        seen.setdefault(run.run, run_dir)


def _other_cells(judged: Sequence[_Judged]) -> Iterator[str]:
    first = judged[0]
    for one in judged[1:]:
        if one.cell.id != first.cell.id:
            yield (
                f"{one.origin.run}: found a run of {one.cell.id}, expected {first.cell.id} as in {first.origin.run}; "
                "accept one cell at a time"
            )


def _invalid(judged: Sequence[_Judged]) -> Iterator[str]:
    for one in judged:
        if one.verdict.outcome == INVALID:
            reasons = one.verdict.reasons
            more = f"; and {len(reasons) - _REASONS_QUOTED} more" if len(reasons) > _REASONS_QUOTED else ""
            yield f"{one.origin.run}: is invalid and proves nothing: {'; '.join(reasons[:_REASONS_QUOTED])}{more}"


def _differing(runs: Sequence[Provenance]) -> Iterator[str]:
    first = runs[0]
    for run in runs[1:]:
        for name in dict.fromkeys((*first.state, *run.state)):
            found, expected = run.state.get(name, ""), first.state.get(name, "")
            if found != expected:
                yield (
                    f"{run.run}: found {name} {found or 'unknown'}, expected {expected or 'unknown'} as in "
                    f"{first.run}; a baseline is of one state of a machine"
                )


def _notes(judged: Sequence[_Judged], values: Sequence[AcceptedValue]) -> Iterator[str]:
    """What deserves a second look before other runs are held against these."""
    for one in judged:
        for metric in one.verdict.metrics.values():
            if metric.verdict in (FAIL, INCONCLUSIVE):
                yield f"{one.origin.run}: {metric.metric} is {metric.verdict}: {metric.reason}"
    for value in values:
        low, _ = value.bounds
        kept = [one.verdict.metrics[value.metric] for one in judged if one.origin.run not in value.trimmed]
        undecided = [one for one in kept if one.interval is not None and low is not None and one.interval.low < low]
        if undecided:
            yield (
                f"{value.metric}: {len(undecided)} of its {len(kept)} runs would be inconclusive themselves: their "
                f"intervals reach below the bound of {low:.6g} {undecided[0].unit}, and only more steps narrow them"
            )
