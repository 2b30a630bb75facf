"""The judgement of measurements against what the vendor publishes, or the site accepted: the six verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Mapping, Sequence

from evidence.bundle import Evidence
from evidence.errors import SuiteError
from expected import METRICS, UNPUBLISHED, Cell, Expectation, Metric
from verdict.changes import changes
from verdict.checks.invariants import violations
from verdict.checks.workload import Workload, fingerprint
from verdict.metrics.measure import compared_value, measure, unmeasured
from verdict.metrics.measurement import Measurement
from verdict.metrics.statistics import MIN_STEPS, Interval, steps_to_decide
from verdict.metrics.throughput import RATES, stragglers
from verdict.wording import against, figure, origin, quantity

INVALID = "invalid"
FAIL = "fail"
INCONCLUSIVE = "inconclusive"
MISSING = "missing"
RECORDED = "recorded"
PASS = "pass"  # noqa: S105 - a verdict, not a password

VERDICTS = (INVALID, FAIL, INCONCLUSIVE, MISSING, RECORDED, PASS)
"""From the worst to the best."""

_REASONS_QUOTED = 3  # in the reason of a metric; RunVerdict.reasons has them all


@dataclass(frozen=True)
class MetricVerdict:
    """The judgement of one metric: measured and bounds in `unit`; `source` says where the expected number is from.

    `expected`, `low` and `high` are None where nothing is published or a side does not decide. `better` is
    "higher" or "lower". `measured` may be there although the verdict is invalid: then it proves nothing.
    """

    metric: str
    measured: float | None
    unit: str
    interval: Interval | None
    expected: float | None
    low: float | None
    high: float | None
    better: str
    method: str
    source: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class RunVerdict:
    """The judgement of a run: `outcome` is the worst verdict of its metrics, `reasons` why it is no pass.

    `cell_parts` has device, topology, precision, batch_size, learning_rate and timing, and the card where it names one.
    `metrics` has the metrics that apply to the cell, in the table's order. `workload` is what the rates were measured
    on, None where none was. `changed` says which expectations are not those of the time when the run was made.
    `restarts` is how often the run was started again after it broke off: then its numbers are of the last attempt, and
    no proof. `without` names the trainer's optimizations that were switched off.
    """

    cell_id: str
    cell_parts: Mapping[str, object]
    simulated: bool
    protocol: str
    outcome: str
    reasons: tuple[str, ...]
    metrics: Mapping[str, MetricVerdict]
    workload: Workload | None = None
    changed: tuple[str, ...] = ()
    restarts: int = 0
    without: tuple[str, ...] = ()


def judge_run(evidence: Evidence, cell: Cell, *, backend: str | None = None) -> RunVerdict:
    """The verdicts on every metric that applies to `cell`, from the evidence of one run.

    `backend` is the one that the cell's device needs; without it, run.json is taken at its word. Evidence that
    cannot be trusted makes every metric invalid. Raises SuiteError for a cell that cannot be judged at all.
    """
    measurements = measure(evidence)
    broken = violations(evidence, cell, measurements, backend=backend)
    metrics = {}
    for name in cell.applicable:
        expectation = cell.expectations[name]
        metrics[name] = judge_metric(
            name,
            expectation,
            _reported(name, cell, expectation, measurements),
            unmeasured=unmeasured(name, evidence) or _unlike(name, expectation, evidence),
            broken=broken,
        )
    metrics = _with_stragglers(metrics, evidence)
    verdicts = [metric.verdict for metric in metrics.values()]
    if broken or not verdicts:
        outcome = INVALID
        reasons = broken or (f"no metric applies to cell {cell.id}, expected at least one; correct its table",)
    else:
        outcome = min(verdicts, key=VERDICTS.index)
        reasons = tuple(metric.reason for metric in metrics.values() if metric.verdict != PASS)
    return RunVerdict(
        cell_id=cell.id,
        cell_parts={
            "device": cell.device,
            "topology": str(cell.topology),
            "precision": cell.precision,
            "batch_size": cell.batch_size,
            "learning_rate": cell.learning_rate,
            "timing": cell.timing,
            **({} if cell.card is None else {"card": cell.card}),
        },
        simulated=evidence.simulated,
        protocol="unknown" if evidence.run is None else evidence.run.protocol,
        outcome=outcome,
        reasons=reasons,
        metrics=metrics,
        workload=fingerprint(evidence),
        changed=changes(evidence, cell),
        restarts=0 if evidence.run is None else len(evidence.run.restarts),
        without=() if evidence.run is None else evidence.run.without,
    )


def judge_metric(
    name: str,
    expectation: Expectation,
    measurement: Measurement | None,
    *,
    unmeasured: str = "",
    broken: Sequence[str] = (),
) -> MetricVerdict:
    """The verdict on one metric that applies to a cell.

    `measurement` is the one to hold against the expectation, None where there is none; `unmeasured` says why the
    run's protocol does not measure the metric; `broken` why its evidence cannot be trusted. Raises SuiteError for
    an expectation that is neither published nor accepted nor unpublished.
    """
    if not expectation.has_number and expectation.state != UNPUBLISHED:
        raise SuiteError(f"{name}: found a metric that is {expectation.state}, expected one that applies to the cell")
    metric = METRICS[name]
    if broken:
        more = f"; and {len(broken) - _REASONS_QUOTED} more" if len(broken) > _REASONS_QUOTED else ""
        verdict, reason = INVALID, "; ".join(broken[:_REASONS_QUOTED]) + more
    elif unmeasured:
        verdict, reason = MISSING, unmeasured
    elif measurement is None or not _is_number(measurement):
        verdict, reason = INVALID, f"found no {name} that is a number, expected one from this protocol"
    elif expectation.state == UNPUBLISHED:
        verdict, reason = RECORDED, f"{name} {quantity(metric, measurement.value)}: no number is published"
    else:
        verdict, reason = _compare(metric, expectation, measurement)
    # A number that is none must not reach a report: it would be taken for one.
    shown = measurement if measurement is not None and _is_number(measurement) else None
    return MetricVerdict(
        metric=name,
        measured=None if shown is None else shown.value,
        unit=metric.unit,
        interval=None if shown is None else shown.interval,
        expected=expectation.value,
        low=expectation.low,
        high=expectation.high,
        better=metric.better,
        method="" if shown is None else f"{shown.method}; from {shown.source}",
        source=expectation.source,
        verdict=verdict,
        reason=reason,
    )


def _compare(metric: Metric, expectation: Expectation, measurement: Measurement) -> tuple[str, str]:
    """The verdict on a number that was measured and is published or accepted; bounds belong to what passes."""
    name, value, low, high = metric.name, measurement.value, expectation.low, expectation.high
    deciding = low if metric.better == "higher" else high
    if deciding is None or any(bound is not None and not math.isfinite(bound) for bound in (low, high)):
        side = "low" if metric.better == "higher" else "high"
        return INVALID, f"{name}: found bounds {low} to {high}, expected a {side} bound that is a number"
    capacity = expectation.capacity
    if capacity is not None and value > capacity:
        shown, limit = against(metric, value, capacity)
        return FAIL, f"{name} {shown} is above {limit} (the card's capacity)"
    if measurement.interval is None and measurement.metric in RATES:
        return INCONCLUSIVE, (
            f"{name} {quantity(metric, value)} comes from {measurement.n} steps, too few for a confidence interval; "
            f"at least {max(1, (measurement.least or MIN_STEPS) - measurement.n)} more steps are needed"
        )
    interval = measurement.interval or Interval(value, value)
    for bound, is_outside, word in (
        (low, low is not None and interval.high < low, "below"),
        (high, high is not None and interval.low > high, "above"),
    ):
        if bound is not None and is_outside:
            shown, limit = against(metric, value, bound)
            return FAIL, f"{name} {shown} is {word} {limit} ({origin(metric, expectation, bound)})"
    straddled = [
        bound
        for bound, is_inside in (
            (low, low is None or interval.low >= low),
            (high, high is None or interval.high <= high),
        )
        if bound is not None and not is_inside
    ]
    if straddled:
        return INCONCLUSIVE, _undecided(metric, expectation, measurement, interval, straddled)
    if measurement.doubt:
        return INCONCLUSIVE, f"{name} {quantity(metric, value)}: {measurement.doubt}"
    shown, limit = against(metric, value, deciding)
    word = "at least" if metric.better == "higher" else "at most"
    return PASS, f"{name} {shown} is {word} {limit} ({origin(metric, expectation, deciding)})"


def _undecided(
    metric: Metric,
    expectation: Expectation,
    measurement: Measurement,
    interval: Interval,
    straddled: Sequence[float],
) -> str:
    more = [steps_to_decide(measurement.value, interval, bound, measurement.n) for bound in straddled]
    known = [steps for steps in more if steps is not None]
    if len(known) < len(more):
        advice = "it is the bound itself, so that no number of steps would decide"
    else:
        advice = f"about {max(known)} more steps would decide"
    span = f"{figure(interval.low, 6)} to {figure(interval.high, 6)}"
    bounds = " and ".join(f"{bound:.10g} ({origin(metric, expectation, bound)})" for bound in straddled)
    return f"{metric.name} {quantity(metric, measurement.value)}: its interval, {span}, straddles {bounds}; {advice}"


def _with_stragglers(metrics: Mapping[str, MetricVerdict], evidence: Evidence) -> dict[str, MetricVerdict]:
    """The verdicts, with the slow ranks named wherever a rate does not pass."""
    slow = "; ".join(map(str, stragglers(evidence)))
    return {
        name: replace(metric, reason=f"{metric.reason}; {slow}")
        if slow and name in RATES and metric.verdict in (FAIL, INCONCLUSIVE)
        else metric
        for name, metric in metrics.items()
    }


def _reported(
    name: str, cell: Cell, expectation: Expectation, measurements: Mapping[str, Measurement]
) -> Measurement | None:
    """Like is held against like: the number of a p_core against the clock that it was read with."""
    if name == "p_core" and expectation.has_number:
        return compared_value(expectation.clock or cell.timing, measurements)
    return measurements.get(name)


def _unlike(name: str, expectation: Expectation, evidence: Evidence) -> str:
    """Why a site's value cannot be held against this run: another protocol warms up, loads and evaluates otherwise."""
    found = "" if evidence.run is None else evidence.run.protocol
    if expectation.protocol in ("", found):
        return ""
    return f"{name} was accepted from runs of protocol {expectation.protocol}, and this is a {found} run"


def _is_number(measurement: Measurement) -> bool:
    interval = measurement.interval
    ends = () if interval is None else (interval.low, interval.high)
    return all(math.isfinite(value) for value in (measurement.value, *ends))
