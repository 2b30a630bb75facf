"""The verdict on one number: whether its confidence interval lies within its bounds, and the reason in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Sequence

from evidence.errors import SuiteError
from evidence.verdict import Interval, MetricVerdict, Verdict
from expected import (
    ACCEPTED,
    ALL_METRICS,
    PUBLISHED,
    SMOKE,
    UNPUBLISHED,
    Expectation,
    Metric,
)
from verdict.metrics.measurement import Measurement
from verdict.metrics.statistics import MIN_STEPS, steps_to_decide
from verdict.metrics.throughput import RATES
from verdict.wording import against, figure, limit, origin, quantity

_FEW_BLOCKS = 4.0  # of about ten, if none resembled its neighbours
_REASONS_QUOTED = 3  # in the reason of a metric; RunVerdict.reasons has them all


def judge_metric(
    name: str,
    expectation: Expectation,
    measurement: Measurement | None,
    *,
    unmeasured: str = "",
    broken: Sequence[str] = (),
) -> MetricVerdict:
    """Return the verdict on one metric that applies to a cell.

    `measurement` is held against the expectation; `unmeasured` is why the run's protocol does not measure the metric,
    `broken` why its evidence cannot be trusted. Raises SuiteError for an expectation that is neither published nor
    accepted nor unpublished.
    """
    if not expectation.has_number and expectation.state != UNPUBLISHED:
        raise SuiteError(f"{name}: found a metric that is {expectation.state}, expected one that applies to the cell")
    metric = ALL_METRICS[name]
    if expectation.state == ACCEPTED and measurement is not None and measurement.within is not None:
        # The tolerance of an accepted value is the measured spread between the site's own runs.
        measurement = replace(measurement, interval=measurement.within)
    if broken:
        more = f"; and {len(broken) - _REASONS_QUOTED} more" if len(broken) > _REASONS_QUOTED else ""
        verdict, reason = Verdict.INVALID, Reason("; ".join(broken[:_REASONS_QUOTED]) + more)
    elif unmeasured:
        verdict, reason = Verdict.MISSING, Reason(unmeasured)
    elif measurement is None or not _is_number(measurement):
        verdict, reason = Verdict.INVALID, Reason(f"found no {name} that is a number, expected one from this protocol")
    elif expectation.state == UNPUBLISHED:
        why = SMOKE if expectation.source == SMOKE else "no number is published"
        verdict, reason = Verdict.RECORDED, Reason(f"{name} {quantity(measurement.value, metric.unit)}: {why}")
    else:
        verdict, reason = _compare(metric, expectation, measurement)
    # Drop NaN and inf: a report would show them as a measurement.
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
        reason=reason.words,
        more_steps=reason.more_steps,
        boots=reason.boots,
    )


def against_bounds(interval: Interval, low: float | None, high: float | None) -> tuple[Verdict, tuple[float, ...]]:
    """Hold an interval against bounds, which belong to what passes; None is no bound on that side.

    Returns PASS and nothing if the interval lies within, FAIL and the bound if it lies wholly outside one, else
    INCONCLUSIVE and the bounds that it straddles.

    >>> against_bounds(Interval(0.94, 0.97), low=0.95, high=None)
    (<Verdict.INCONCLUSIVE: 'inconclusive'>, (0.95,))
    """
    if low is not None and interval.high < low:
        return Verdict.FAIL, (low,)
    if high is not None and interval.low > high:
        return Verdict.FAIL, (high,)
    below = low is not None and not interval.low >= low
    above = high is not None and not interval.high <= high
    straddled = tuple(bound for bound, is_outside in ((low, below), (high, above)) if bound is not None and is_outside)
    return (Verdict.INCONCLUSIVE, straddled) if straddled else (Verdict.PASS, ())


@dataclass(frozen=True)
class Reason:
    """Why a verdict, in words; of an inconclusive one also how many more steps or boots would decide, 0 if unknown."""

    words: str
    more_steps: int = 0
    boots: int = 0

    def __str__(self) -> str:
        return self.words


def steps_advice(
    value: float,
    interval: Interval,
    straddled: Sequence[float],
    steps: int,
    whose: str = "",
    within: Interval | None = None,
) -> Reason:
    """Return how many more steps would decide; `interval` came from `steps` steps.

    `within` is the part of it that steps narrow; if that is not enough, more boots would do.
    """
    more = [steps_to_decide(value, interval, bound, steps, within) for bound in straddled]
    known = [count for count in more if count is not None]
    if len(known) == len(more):
        return Reason(f"about {max(known)} more steps{whose} would decide", more_steps=max(known))
    if value in straddled:
        return Reason("it is the bound itself, so that no number of steps would decide")
    reach = max(value - interval.low, interval.high - value) / min(abs(value - bound) for bound in straddled)
    boots = max(2, math.ceil(min(reach * reach, 1000)))
    return Reason(f"no number of steps would decide, but about {boots} boots judged together (--repeat)", boots=boots)


def _compare(metric: Metric, expectation: Expectation, measurement: Measurement) -> tuple[Verdict, Reason]:
    """Return the verdict on a number that was measured and is published or accepted, and why."""
    name, value, low, high = metric.name, measurement.value, expectation.low, expectation.high
    deciding = low if metric.better == "higher" else high
    if deciding is None or any(bound is not None and not math.isfinite(bound) for bound in (low, high)):
        side = "low" if metric.better == "higher" else "high"
        return Verdict.INVALID, Reason(
            f"{name}: found bounds {low} to {high}, expected a {side} bound that is a number"
        )
    capacity = expectation.capacity
    if capacity is not None and value > capacity:
        shown, most = against(metric, value, capacity)
        return Verdict.FAIL, Reason(f"{name} {shown} is above {most} (the device's capacity)")
    number = quantity(value, metric.unit)
    enough = measurement.decisive if expectation.state == PUBLISHED else 0
    no_interval = measurement.interval is None and measurement.metric in RATES
    if no_interval or measurement.n < enough:
        why = "too few for a confidence interval" if no_interval else "too few to show rare stalls and slow changes"
        more = max(1, max(measurement.least or MIN_STEPS, enough) - measurement.n)
        reason = f"{name} {number} comes from {measurement.n} steps, {why}; at least {more} more steps are needed"
        return Verdict.INCONCLUSIVE, Reason(reason, more_steps=more)
    interval = measurement.interval or Interval(value, value)
    verdict, decisive = against_bounds(interval, low, high)
    if verdict is Verdict.FAIL:
        shown, most = against(metric, value, decisive[0])
        word = "below" if interval.high < decisive[0] else "above"
        early = metric.is_two_sided and word == "below"
        why = "; too soon is as suspicious as too late: look at the data set and at what the evaluation scored" * early
        return Verdict.FAIL, Reason(
            f"{name} {shown} is {word} {most} ({origin(metric, expectation, decisive[0])}){why}"
        )
    if verdict is Verdict.INCONCLUSIVE:
        ends = f"{figure(interval.low, 6)} to {figure(interval.high, 6)}"
        straddled = " and ".join(
            f"{limit(bound, metric.unit)} ({origin(metric, expectation, bound)})" for bound in decisive
        )
        advice = steps_advice(value, interval, decisive, measurement.n, within=measurement.within)
        slow = ""
        if measurement.independent < _FEW_BLOCKS:
            slow = f"; as speed changes slowly, the run holds about {measurement.independent:.1f} independent blocks"
        words = f"{name} {number}: its interval, {ends}, straddles {straddled}{slow}; {advice}"
        return Verdict.INCONCLUSIVE, replace(advice, words=words)
    doubt = _too_good(metric, expectation, value)
    if doubt:
        return Verdict.INCONCLUSIVE, Reason(f"{name} {number} {doubt}")
    if measurement.doubt:
        return Verdict.INCONCLUSIVE, Reason(f"{name} {number}: {measurement.doubt}")
    shown, least = against(metric, value, deciding)
    word = "at least" if metric.better == "higher" else "at most"
    return Verdict.PASS, Reason(f"{name} {shown} is {word} {least} ({origin(metric, expectation, deciding)})")


def _too_good(metric: Metric, expectation: Expectation, value: float) -> str:
    """Return why a number is so good that it is not believed, in words; "" for one that is."""
    known = [one for one in (expectation.value, expectation.covered) if one is not None]
    if not known or not all(metric.too_good(value, one) for one in known):
        return ""
    best = f"{expectation.state} {expectation.value}"
    if expectation.covered is not None:
        best += f" and {expectation.covered} accepted beside it"
    less, more = sorted((value, known[0]))
    factor = more / less if less > 0 else math.inf
    return (
        f"is {factor:.1f} times as good as {best}, too good to be believed from one run (above {metric.doubtful:g}); a "
        f"baseline of three runs would decide (python -m verdict accept)"
    )


def _is_number(measurement: Measurement) -> bool:
    interval = measurement.interval
    ends = () if interval is None else (interval.low, interval.high)
    return all(math.isfinite(value) for value in (measurement.value, *ends))
