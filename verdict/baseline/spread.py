"""The number that several readings of a metric agree on, and how far one more may be off."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Mapping, Sequence

from evidence.errors import SuiteError
from expected import METRICS
from expected.metrics import ABSOLUTE_TOLERANCE, Bounds, default_bounds
from expected.site import LARGEST_TOLERANCE, MIN_RUNS
from verdict.wording import quantity

SMALLEST_TOLERANCE: Mapping[str, float] = {name: 0.002 if name == "map" else 0.01 for name in METRICS}
"""Relative, but absolute for `map`: the spread that few runs show can be luckily small."""
LARGEST_SCORE = 3.5
"""Of the modified z-score; a run beyond it is an outlier (Iglewicz and Hoaglin, 1993)."""

_NORMAL_MAD = 0.6745  # of the normal distribution: its MAD in standard deviations
_T = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
)
"""The 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom."""


class AcceptError(SuiteError):
    """Runs that make no baseline, or a baseline file that cannot take them; the message says why and what to do."""


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
        """(low, high) in the metric's unit, as expected.default_bounds has them, the card's capacity aside."""
        return default_bounds(METRICS[self.metric], self.value, self.tolerance)


def accepted_value(name: str, readings: Mapping[str, float]) -> AcceptedValue:
    """The mean of the readings (in the metric's unit, by run id) less the outliers, and how far another may be off.

    The tolerance covers one more run with 95 % probability: t x s x sqrt(1 + 1 / n), the half width of Student's
    prediction interval; it is no less than SMALLEST_TOLERANCE and reaches every reading that was kept. Readings
    and value are rounded to six digits, the tolerance up to four decimals. Raises AcceptError where the readings
    scatter by more than LARGEST_TOLERANCE, and for values without a bound.
    """
    metric = METRICS[name]
    readings = {run: _six_digits(reading) for run, reading in readings.items()}
    trimmed = outliers(name, readings)
    kept = [reading for run, reading in readings.items() if run not in trimmed]
    shown = ", ".join(f"{quantity(metric, reading, 5)} ({run})" for run, reading in readings.items())
    value = _six_digits(statistics.mean(kept))
    if value <= 0:
        raise AcceptError(f"{name}: found {shown}, expected more than 0; leave the metric out with --without {name}")
    tolerance = _tolerance(name, value, kept)
    if tolerance > LARGEST_TOLERANCE[name]:
        raise AcceptError(
            f"{name}: found {shown}: another run may be off by {in_words(name, tolerance)}, expected at most "
            f"{in_words(name, LARGEST_TOLERANCE[name])}; a number that the site cannot reproduce is no baseline. Look "
            "for what differs between the runs (temperature, clocks, other users of machine or disk), add runs, or "
            f"leave the metric out with --without {name}"
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

    None of them lies within SMALLEST_TOLERANCE of the median: readings so near to each other are equal for any
    verdict, however near the others are. Where the MAD is 0, every reading outside of that is an outlier. Of three
    runs none is one: two that happen to lie close together do not prove the third wrong, and the spread tells. Of more,
    fewer than half can be, so that three always remain.
    """
    if len(readings) <= MIN_RUNS:
        return ()
    median = statistics.median(readings.values())
    near = SMALLEST_TOLERANCE[name] * (1 if name in ABSOLUTE_TOLERANCE else median)
    distances = {run: abs(reading - median) for run, reading in readings.items()}
    mad = statistics.median(distances.values())
    return tuple(
        run for run, distance in distances.items() if distance > near and _NORMAL_MAD * distance > LARGEST_SCORE * mad
    )


def in_words(name: str, tolerance: float) -> str:
    """A tolerance as a person reads it: "2.13 %", for map "0.0041"."""
    return f"{tolerance:.4f}" if name in ABSOLUTE_TOLERANCE else f"{100 * tolerance:.2f} %"


def _tolerance(name: str, value: float, kept: Sequence[float]) -> float:
    freedom = len(kept) - 1
    # Beyond the table its last entry: a little too wide, never too narrow.
    half_width = _T[min(freedom, len(_T)) - 1] * statistics.stdev(kept) * math.sqrt(1 + 1 / len(kept))
    # In decimal, as the bounds are computed: the reading that lies farthest must not fail by a rounding.
    centre = Decimal(repr(value))
    reach = max(Decimal(repr(half_width)), *(abs(Decimal(repr(reading)) - centre) for reading in kept))
    if name not in ABSOLUTE_TOLERANCE:
        reach /= centre
    return max(SMALLEST_TOLERANCE[name], float(reach.quantize(Decimal("0.0001"), ROUND_CEILING)))


def _six_digits(number: float) -> float:
    return float(f"{number:.6g}")
