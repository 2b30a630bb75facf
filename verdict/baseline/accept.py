"""Accepts a baseline: the values that three runs or more of a cell agree on, each with a tolerance."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Collection, Iterator, Mapping, Sequence

from evidence.bundle import read_run
from evidence.errors import SuiteError
from evidence.run_file import UNJUDGED
from evidence.verdict import RunVerdict, Verdict
from expected import ALL_METRICS, PUBLISHED, UNPUBLISHED, Cell, Device, split_place
from expected.metrics import ABSOLUTE_TOLERANCE, LARGEST_TOLERANCE, Bounds, default_bounds
from expected.site import MIN_RUNS
from verdict.compare.comparability import Provenance, differing, read_provenance
from verdict.judge import judge
from verdict.lookup import find_cell, on_other_data
from verdict.metrics.measure import compared_value
from verdict.metrics.measurement import Measurement
from verdict.metrics.statistics import NORMAL_MAD, t_quantile
from verdict.metrics.throughput import RATES
from verdict.wording import quantity, times

SMALLEST_TOLERANCE: Mapping[str, float] = {name: metric.accepted[0] for name, metric in ALL_METRICS.items()}
"""Relative, but absolute for `map` and `epochs_to_target`: few runs may happen to agree closely."""
LARGEST_SCORE = 3.5
"""Of the modified z-score; a run beyond it is an outlier (Iglewicz and Hoaglin, 1993)."""
_REASONS_QUOTED = 3


class AcceptError(SuiteError):
    """Runs that cannot be a baseline, or a baseline file that cannot take them; the message says why and what to do."""


@dataclass(frozen=True)
class AcceptedValue:
    """The value of one metric with its tolerance; `readings` has what each run measured, by run id."""

    metric: str
    value: float
    tolerance: float
    readings: Mapping[str, float] = field(hash=False)
    trimmed: tuple[str, ...]

    @property
    def kept(self) -> tuple[float, ...]:
        """The readings that the value is the mean of."""
        return tuple(reading for run, reading in self.readings.items() if run not in self.trimmed)

    @property
    def bounds(self) -> Bounds:
        """(low, high) in the metric's unit, as expected.default_bounds has them, the device's capacity aside."""
        return default_bounds(ALL_METRICS[self.metric], self.value, self.tolerance)


@dataclass(frozen=True)
class Acceptance:
    """The accepted values of one cell; `left_out` says why other unpublished metrics are not, by metric.

    `notes` are what to know before relying on it.
    """

    cell: Cell
    runs: tuple[Provenance, ...]
    values: tuple[AcceptedValue, ...]
    left_out: Mapping[str, str] = field(hash=False)
    notes: tuple[str, ...]


def accept_runs(
    run_dirs: Sequence[Path],
    devices: Mapping[str, Device],
    without: Collection[str] = (),
    further: Sequence[str] = (),
) -> Acceptance:
    """What the runs in `run_dirs` agree on, metric by metric, except those in `without`.

    Of metrics that no table has, those in `further`.

    Raises AcceptError, with all reasons at once, for too few runs, one that is invalid or given twice, runs made under
    different circumstances, and metrics that scatter too much or are not measured. Other SuiteErrors if a run cannot
    be read or is of no known cell.

    >>> accept_runs([Path("runs/a"), Path("runs/b"), Path("runs/c")], load_devices()).values[0].bounds  # doctest: +SKIP
    (12.1, None)
    """
    if len(run_dirs) < MIN_RUNS:
        raise AcceptError(f"found {len(run_dirs)} runs, expected {MIN_RUNS} or more of the same cell")
    judged = [_judge(run_dir, devices) for run_dir in run_dirs]
    cell, runs = judged[0].cell, tuple(one.origin for one in judged)
    _refuse([*_twice(run_dirs, runs), *_other_cells(judged), *_invalid(judged), *_differing(runs)])
    values: list[AcceptedValue] = []
    left_out: dict[str, str] = {}
    problems: list[str] = []
    for name in dict.fromkeys((*cell.applicable, *further)):
        if not _is_open(name, judged):
            continue
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


def accepted_value(name: str, readings: Mapping[str, float]) -> AcceptedValue:
    """The mean of the readings (in the metric's unit, by run id) less the outliers, and how far another may be off.

    The tolerance covers one more run with 95 % probability: t x s x sqrt(1 + 1 / n), the half width of Student's
    prediction interval; it is no less than SMALLEST_TOLERANCE and reaches every reading that was kept. Readings
    and value are rounded to six digits, the tolerance up to four decimals. Raises AcceptError where the readings
    scatter by more than LARGEST_TOLERANCE, and for values without a bound.
    """
    metric = ALL_METRICS[name]
    readings = {run: _six_digits(reading) for run, reading in readings.items()}
    trimmed = outliers(name, readings)
    kept = [reading for run, reading in readings.items() if run not in trimmed]
    shown = ", ".join(f"{quantity(reading, metric.unit, 5)} ({run})" for run, reading in readings.items())
    value = _six_digits(statistics.mean(kept))
    if value <= 0:
        raise AcceptError(f"{name}: found {shown}, expected more than 0; leave the metric out with --without {name}")
    tolerance = _tolerance(name, value, kept)
    if tolerance > LARGEST_TOLERANCE[name]:
        raise AcceptError(
            f"{name}: found {shown}: another run may be off by {in_words(name, tolerance)}, expected at most "
            f"{in_words(name, LARGEST_TOLERANCE[name])}; a number that the site cannot reproduce is not a baseline. "
            "Look for what differs between the runs (temperature, clocks, other users of machine or disk), add runs, "
            f"or leave the metric out with --without {name}"
        )
    accepted = AcceptedValue(name, value, tolerance, readings, trimmed)
    low, _ = accepted.bounds
    if low is not None and low <= 0:
        raise AcceptError(
            f"{name}: found {shown}, too little for a bound above 0 at the tolerance {tolerance}; leave the metric out "
            f"with --without {name}"
        )
    return accepted


def outliers(name: str, readings: Mapping[str, float]) -> tuple[str, ...]:
    """The runs whose modified z-score, 0.6745 x (x - median) / MAD, is beyond LARGEST_SCORE.

    None lies within SMALLEST_TOLERANCE of the median, where readings are equal for any verdict. If the MAD is 0, every
    reading outside of that is an outlier. Of three runs none is: two that happen to lie close together do not prove the
    third wrong. Of more, fewer than half can be, so that three always remain.
    """
    if len(readings) <= MIN_RUNS:
        return ()
    median = statistics.median(readings.values())
    near = SMALLEST_TOLERANCE[name] * (1 if name in ABSOLUTE_TOLERANCE else median)
    distances = {run: abs(reading - median) for run, reading in readings.items()}
    mad = statistics.median(distances.values())
    return tuple(
        run for run, distance in distances.items() if distance > near and NORMAL_MAD * distance > LARGEST_SCORE * mad
    )


def in_words(name: str, tolerance: float) -> str:
    """A tolerance in words: "2.13 %", for map "0.0041"."""
    return f"{tolerance:.4f}" if name in ABSOLUTE_TOLERANCE else f"{100 * tolerance:.2f} %"


@dataclass(frozen=True)
class _Judged:
    cell: Cell
    verdict: RunVerdict
    origin: Provenance
    measured: Mapping[str, Measurement]
    doubts: Mapping[str, str]  # by metric


def _judge(run_dir: Path, devices: Mapping[str, Device]) -> _Judged:
    evidence = read_run(run_dir)
    device, cell = find_cell(evidence, devices)
    if evidence.run is not None and evidence.run.protocol in UNJUDGED:
        raise AcceptError(
            f"{run_dir}: is a run of protocol {evidence.run.protocol}, expected one that trains as the table says: its "
            "numbers are no baseline"
        )
    if on_other_data(evidence, device):
        raise AcceptError(
            f"{run_dir}: was given a data set with --data, expected the one that is generated for {cell.id}: what a "
            "site accepts stands for that one"
        )
    if cell.card is not None:
        raise AcceptError(
            f"{run_dir}: was made by --each-card, beside runs on the other devices, expected a run that had the "
            "machine to itself: make one with --topo 1x1"
        )
    if cell.host is not None:
        raise AcceptError(
            f"{run_dir}: was made by --each-host, as one of several hosts, expected one of "
            f"{split_place(cell.id)[0]}: make it with --hosts {cell.host} and without --each-host"
        )
    judged = judge(evidence, device, cell)
    verdict = judged.verdict
    if verdict.without:
        raise AcceptError(
            f"{run_dir}: was made without {', '.join(verdict.without)}, expected one with every optimization that the "
            "device can have: later runs are held against it"
        )
    if verdict.restarts:
        raise AcceptError(
            f"{run_dir}: was restarted {times(verdict.restarts)}, expected an unbroken run: only one is proof"
        )
    if evidence.stopped:
        raise AcceptError(f"{run_dir}: was ended early by --fail-fast, expected a whole run: {evidence.stopped}")
    measured = judged.measurements
    return _Judged(cell, verdict, read_provenance(evidence), measured, _doubts(measured))


def _is_open(name: str, judged: Sequence[_Judged]) -> bool:
    """Return whether a site may accept the metric: nothing is published, or all runs are too good beside the number."""
    known = judged[0].cell.expectation(name)
    if known.state != PUBLISHED or known.value is None:
        return known.state == UNPUBLISHED
    found = [one.verdict.shown[name].measured for one in judged if name in one.verdict.shown]
    return all(one is not None and ALL_METRICS[name].too_good(one, known.value) for one in found)


def _unmeasured(name: str, judged: Sequence[_Judged]) -> str:
    """Why a run did not measure the metric; "" if all did."""
    for one in judged:
        metric = one.verdict.shown.get(name)
        if metric is None or metric.measured is None:
            return f"{'not measured' if metric is None else metric.reason} ({one.origin.run})"
    return ""


def _agreed(name: str, judged: Sequence[_Judged]) -> AcceptedValue:
    _refuse([f"{name}: {one.origin.run} {one.doubts[name]}" for one in judged if name in one.doubts])
    measured = {one.origin.run: one.verdict.shown[name].measured for one in judged}
    return accepted_value(name, {run: reading for run, reading in measured.items() if reading is not None})


def _reading(name: str, one: _Judged) -> Measurement:
    """Return the measurement behind a value: of p_core beside a published one, that by the clock of the number."""
    published = one.cell.expectation(name).state == PUBLISHED
    found = compared_value(one.cell.timing, one.measured) if name == "p_core" and published else one.measured.get(name)
    assert found is not None, f"{name} was accepted without a measurement"
    return found


def _doubts(measurements: Mapping[str, Measurement]) -> dict[str, str]:
    """Why a number that may not pass itself cannot be a baseline, by metric."""
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
        if one.verdict.outcome == Verdict.INVALID:
            reasons = one.verdict.reasons
            more = f"; and {len(reasons) - _REASONS_QUOTED} more" if len(reasons) > _REASONS_QUOTED else ""
            yield f"{one.origin.run}: is invalid and proves nothing: {'; '.join(reasons[:_REASONS_QUOTED])}{more}"


def _differing(runs: Sequence[Provenance]) -> Iterator[str]:
    first = runs[0]
    for run in runs[1:]:
        for name, expected, found in differing(first.state, run.state):
            yield (
                f"{run.run}: found {name} {found or 'unknown'}, expected {expected or 'unknown'} as in {first.run}; a "
                "baseline is of one state of a machine"
            )


def _notes(judged: Sequence[_Judged], values: Sequence[AcceptedValue]) -> Iterator[str]:
    """What to look at before other runs are compared with these."""
    for one in judged:
        for metric in one.verdict.metrics.values():
            if metric.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
                yield f"{one.origin.run}: {metric.metric} is {metric.verdict}: {metric.reason}"
    for value in values:
        low, _ = value.bounds
        kept = [_reading(value.metric, one) for one in judged if one.origin.run not in value.trimmed]
        undecided = [one for one in kept if one.within is not None and low is not None and one.within.low < low]
        if undecided:
            yield (
                f"{value.metric}: {len(undecided)} of its {len(kept)} runs would be inconclusive themselves: their "
                f"intervals reach below the bound of {low:.6g} {undecided[0].unit}, and only more steps narrow them"
            )


def _tolerance(name: str, value: float, kept: Sequence[float]) -> float:
    half_width = t_quantile(len(kept) - 1) * statistics.stdev(kept) * math.sqrt(1 + 1 / len(kept))
    # In decimal, as the bounds are computed, so that the farthest reading does not fail by rounding.
    centre = Decimal(repr(value))
    reach = max(Decimal(repr(half_width)), *(abs(Decimal(repr(reading)) - centre) for reading in kept))
    if name not in ABSOLUTE_TOLERANCE:
        reach /= centre
    return max(SMALLEST_TOLERANCE[name], float(reach.quantize(Decimal("0.0001"), ROUND_CEILING)))


def _six_digits(number: float) -> float:
    return float(f"{number:.6g}")
