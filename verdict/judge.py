"""Judges runs: measures the evidence, checks that it can be trusted, and holds each metric against its expectation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Mapping, Sequence

from evidence.bundle import Evidence, read_run
from evidence.verdict import JudgedCell, MetricVerdict, ProbeVerdict, RunVerdict, Verdict
from expected import (
    ALL_METRICS,
    FURTHER_METRICS,
    Cell,
    Device,
    Expectation,
)
from verdict.bounds import judge_metric
from verdict.checks.data import annotation_digests
from verdict.checks.invariants import notes, violations
from verdict.checks.workload import fingerprint
from verdict.environment.claims import NO_CLAIMS, Claims
from verdict.environment.findings import EnvironmentFinding, environment_findings
from verdict.lookup import changes, find_cell
from verdict.metrics.measure import compared_value, measure, together, unmeasured
from verdict.metrics.measurement import Measurement
from verdict.metrics.so_far import measure_so_far
from verdict.metrics.stragglers import stragglers
from verdict.metrics.throughput import RATES
from verdict.probes.table import LINES

_FINAL = {"e2e_time": Verdict.FAIL, "map": Verdict.PASS}
"""The verdict that a number of a part of a run can bring, where it is one alone."""
ENDED_EARLY = "--fail-fast ended the run"


@dataclass(frozen=True, eq=False)
class Judged:
    """A run that was judged: the evidence, which is read once, the cell that it was judged as, and the verdict.

    `measurements` has the numbers by metric, also of those that no table has, and p_core_host beside them; it is empty
    if another process has judged. `claims` are this session's on the environment, over those of the run. Of a cell that
    was booted several times (`boots`) the evidence is that of the first, the verdict that on all together.
    """

    evidence: Evidence
    device: Device
    cell: Cell
    verdict: RunVerdict
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    claims: Claims = NO_CLAIMS
    boots: tuple[Judged, ...] = ()

    @property
    def runs(self) -> tuple[Judged, ...]:
        """Every boot, each judged alone; this run itself where it is the only one."""
        return self.boots or (self,)

    @property
    def is_own(self) -> bool:
        """Whether the verdict is on the cell that the run is of; also true if run.json cannot be read."""
        return self.evidence.run is None or self.evidence.run.cell.id == self.cell.id

    @property
    def serial(self) -> str:
        """Of --each-card the serial number of the run's device, of --each-host the host's own name if it is another.

        "" if it is not known.
        """
        if self.cell.host is not None:
            return ", ".join(dict.fromkeys(one.host for _, one in self.evidence.starts if one.host != self.cell.host))
        return "" if self.cell.card is None else ", ".join(start.serial or "" for _, start in self.evidence.starts)

    @cached_property
    def environment(self) -> tuple[EnvironmentFinding, ...]:
        """What was found of each host in each boot, beside what the vendor's document states."""
        found = [one for run in self.runs for one in environment_findings(run.evidence, self.device, self.claims)]
        return tuple(dict.fromkeys(found))


def judge(evidence: Evidence, device: Device, cell: Cell, claims: Claims = NO_CLAIMS) -> Judged:
    """Judge evidence as a run of `cell` of `device`. Raises SuiteError for a cell that cannot be judged at all."""
    verdict, measurements = _judge(evidence, cell, device.backend)
    return Judged(evidence, device, cell, verdict, measurements, claims)


def judge_so_far(evidence: Evidence, device: Device, cell: Cell, claims: Claims = NO_CLAIMS) -> Judged:
    """Judge evidence of a run that goes on: what it would be worth if it ended here, marked as provisional.

    A number that the rest of the run can still turn is no verdict: e2e_time only grows, so that it can fail and not
    pass, and a map that is high enough may be the last.

    >>> judge_so_far(GrowingRun(run_dir).read(), device, cell).verdict.metrics["p_core"].verdict  # doctest: +SKIP
    <Verdict.PASS: 'pass'>
    """
    verdict, measurements = _judge_so_far(evidence, cell, device.backend)
    return Judged(evidence, device, cell, replace(verdict, provisional=True), measurements, claims)


def judge_together(runs: Sequence[Judged]) -> Judged:
    """Judge all boots of a cell by one verdict: none is chosen, and one that cannot be trusted makes it invalid."""
    first, count = runs[0], len(runs)
    if count == 1:
        return first
    named = [(f"run {at} of {count} ({run.evidence.path.name})", run) for at, run in enumerate(runs, start=1)]
    broken = tuple(f"{name}: {reason}" for name, run in named if run.verdict.broken for reason in run.verdict.reasons)
    known = [name for name in first.measurements if all(name in run.measurements for run in runs)]
    measurements = {name: together([run.measurements[name] for run in runs]) for name in known}
    missing = {
        name: f"{which}: {one.reason}"
        for which, run in reversed(named)
        for name, one in run.verdict.metrics.items()
        if one.verdict is Verdict.MISSING
    }
    verdict = _verdict(first.evidence, first.cell, measurements, broken, missing)
    verdict = replace(
        verdict,
        changed=tuple(dict.fromkeys(one for run in runs for one in run.verdict.changed)),
        restarts=max(run.verdict.restarts for run in runs),
        notes=() if broken else tuple(dict.fromkeys(one for run in runs for one in run.verdict.notes)),
    )
    stopped = [f"{name}: {ENDED_EARLY}: {run.evidence.stopped}" for name, run in named if run.evidence.stopped]
    if stopped and not broken:
        verdict = replace(verdict, outcome=Verdict.FAIL, reasons=(*stopped, *verdict.reasons))
    return Judged(first.evidence, first.device, first.cell, verdict, measurements, first.claims, tuple(runs))


def judge_stored(run_dir: Path, devices: Mapping[str, Device]) -> Judged:
    """Read the bundle in `run_dir` and judge it as the cell that its run.json names.

    Raises SuiteError if there is no bundle, or its cell is in none of the tables.

    >>> from expected import load_devices
    >>> judge_stored(Path("tests/stored/cpu-steady"), load_devices()).verdict.outcome
    <Verdict.MISSING: 'missing'>
    """
    evidence = read_run(run_dir)
    return judge(evidence, *find_cell(evidence, devices))


def judge_run(evidence: Evidence, cell: Cell, *, backend: str | None = None) -> RunVerdict:
    """Return the verdicts on every metric that applies to `cell`, from the evidence of one run.

    `backend` is the one that the cell's device needs; None takes the one in run.json. Evidence that cannot be trusted
    makes every metric invalid. Raises SuiteError for a cell that cannot be judged at all.
    """
    return _judge(evidence, cell, backend)[0]


def _judge(evidence: Evidence, cell: Cell, backend: str | None) -> tuple[RunVerdict, Mapping[str, Measurement]]:
    """Return the verdict on a run that has ended, and its numbers."""
    if evidence.stopped:
        return _judge_stopped(evidence, cell, backend)
    measurements = measure(evidence, ALL_METRICS)
    broken = violations(evidence, cell, measurements, backend=backend)
    missing = {
        name: unmeasured(name, evidence) or _unlike(name, cell.expectations[name], evidence) for name in cell.applicable
    }
    return _verdict(evidence, cell, measurements, broken, missing), measurements


def _judge_so_far(evidence: Evidence, cell: Cell, backend: str | None) -> tuple[RunVerdict, Mapping[str, Measurement]]:
    measurements = measure_so_far(evidence, cell.topology.ranks)
    # Without the numbers: those of a part of a run need not fit together, as p_whole is of whole epochs.
    broken = violations(evidence, cell, {}, backend=backend, ended=False)
    missing = {}
    for name in cell.applicable:
        expectation = cell.expectations[name]
        measured = _reported(name, cell, expectation, measurements)
        found = judge_metric(name, expectation, measured).verdict
        missing[name] = unmeasured(name, evidence) or _unlike(name, expectation, evidence)
        if not missing[name] and (measured is None or found is not _FINAL.get(name, found)):
            missing[name] = f"{name} is not known before the run has ended"
    return replace(_verdict(evidence, cell, measurements, broken, missing), notes=()), measurements


def _judge_stopped(evidence: Evidence, cell: Cell, backend: str | None) -> tuple[RunVerdict, Mapping[str, Measurement]]:
    """Return the verdict on a run that was ended since it could no longer pass: fail, or invalid if it proves nothing.

    Only what fails was measured: the other numbers are of a part of the run, and belong beside none of a whole one.
    """
    stopped = f"{ENDED_EARLY}: {evidence.stopped}"
    so_far, measurements = _judge_so_far(evidence, cell, backend)
    if so_far.outcome is Verdict.INVALID:
        return replace(so_far, notes=(stopped,)), {}
    failed = [name for name, metric in so_far.metrics.items() if metric.verdict is Verdict.FAIL]
    measurements = {name: one for name, one in measurements.items() if name in failed}
    missing = {name: f"{name} is not measured: {ENDED_EARLY}" for name in so_far.metrics if name not in failed}
    verdict = _verdict(evidence, cell, measurements, (), missing)
    reasons = (stopped, *(verdict.metrics[name].reason for name in failed))
    return replace(verdict, outcome=Verdict.FAIL, reasons=reasons, notes=(stopped,), further={}), measurements


def _verdict(
    evidence: Evidence,
    cell: Cell,
    measurements: Mapping[str, Measurement],
    broken: tuple[str, ...],
    missing: Mapping[str, str],
) -> RunVerdict:
    """Return the verdict on the numbers of one run, or of several of which `evidence` is the first's."""
    metrics = {}
    for name in cell.applicable:
        expectation = cell.expectations[name]
        measurement = _reported(name, cell, expectation, measurements)
        judged = judge_metric(
            name,
            expectation,
            measurement,
            unmeasured=missing.get(name, ""),
            broken=broken,
        )
        metrics[name] = _with_note(judged, cell, measurement)
    metrics = _with_stragglers(metrics, evidence)
    further = {
        name: judge_metric(name, cell.expectation(name), measurements[name])
        for name in FURTHER_METRICS
        if name in measurements and name not in metrics and not broken
    }
    verdicts = [metric.verdict for metric in metrics.values()]
    if broken or not verdicts:
        outcome = Verdict.INVALID
        reasons = broken or (f"no metric applies to cell {cell.id}, expected at least one; correct its table",)
    else:
        outcome = Verdict.worst(verdicts)
        failing = [metric for metric in metrics.values() if metric.verdict != Verdict.PASS]
        # The worst first: a reader stops at the first, which is no number that was only recorded.
        reasons = tuple(metric.reason for metric in sorted(failing, key=lambda one: list(Verdict).index(one.verdict)))
    return RunVerdict(
        cell=JudgedCell(
            cell.id,
            cell.device,
            str(cell.topology),
            cell.precision,
            cell.batch_size,
            cell.learning_rate,
            cell.timing,
            cell.card,
            cell.host,
        ),
        simulated=evidence.simulated,
        protocol="unknown" if evidence.run is None else evidence.run.protocol,
        outcome=outcome,
        reasons=reasons,
        metrics=metrics,
        workload=fingerprint(evidence),
        changed=changes(evidence, cell),
        restarts=0 if evidence.run is None else len(evidence.run.restarts),
        without=() if evidence.run is None else evidence.run.without,
        further=further,
        probes={} if broken else probes(evidence, cell),
        notes=() if broken else notes(evidence, cell, measurements),
    )


def probes(evidence: Evidence, cell: Cell) -> Mapping[str, ProbeVerdict]:
    """Return the probes that the ranks made of their devices, each judged for the cell in one line, by name."""
    found = {name: line(evidence, cell) for name, (line, _) in LINES.items()}
    return {name: one for name, one in found.items() if one is not None}


def _with_note(judged: MetricVerdict, cell: Cell, measurement: Measurement | None) -> MetricVerdict:
    """Return the verdict with what to know beside it, also at the end of its reason."""
    notes, passed, target = [], judged.verdict is Verdict.PASS, cell.recipe.target_map
    if passed and judged.high is not None and judged.high == cell.expectations[judged.metric].capacity:
        notes.append("the bound is all the memory that the device has, so it cannot fail")
    if passed and judged.metric == "map" and judged.low is not None and judged.low <= target:
        notes.append(f"training stops at the first map of {target:g} or more, so a run that gets there cannot fail")
    if measurement is not None and measurement.note and judged.verdict not in (Verdict.INVALID, Verdict.MISSING):
        notes.append(measurement.note)
    note = "; ".join(notes)
    return replace(judged, reason=f"{judged.reason}; {note}", note=note) if note else judged


def _with_stragglers(metrics: Mapping[str, MetricVerdict], evidence: Evidence) -> dict[str, MetricVerdict]:
    """Return the verdicts, with the slow ranks named in the reason of each rate that does not pass."""
    slow = "; ".join(map(str, stragglers(evidence)))
    return {
        name: replace(metric, reason=f"{metric.reason}; {slow}")
        if slow and name in RATES and metric.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)
        else metric
        for name, metric in metrics.items()
    }


def _reported(
    name: str, cell: Cell, expectation: Expectation, measurements: Mapping[str, Measurement]
) -> Measurement | None:
    """Return the measurement to compare; of p_core the one read with the clock of the expected number."""
    if name == "p_core" and expectation.has_number:
        return compared_value(expectation.clock or cell.timing, measurements)
    return measurements.get(name)


def _unlike(name: str, expectation: Expectation, evidence: Evidence) -> str:
    """Return why a site's value, accepted from runs of another kind, cannot be held against this run; or ""."""
    found = "" if evidence.run is None else evidence.run.protocol
    if expectation.protocol not in ("", found):
        return f"{name} was accepted from runs of protocol {expectation.protocol}, and this is a {found} run"
    read = annotation_digests(evidence)
    for split, digest in expectation.annotations.items():
        own = read.get(split)
        if own != digest:
            which = f"those with {own[:12]}..." if own else "some that it did not record"
            return (
                f"{name} was accepted from runs on {split} annotations of SHA-256 {digest[:12]}...; this read {which}"
            )
    return ""
