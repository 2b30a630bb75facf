"""The metrics, columns of a vendor's table or not: unit, direction, allowed numbers, bounds around a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Callable, Mapping, Optional, Tuple

from expected.toml_file import POSITIVE, Range

COCO_TRAIN_IMAGES = 117_266
"""Images of train2017 with a valid box: what the benchmark's recipe trains on."""

Bounds = Tuple[Optional[float], Optional[float]]
"""(low, high) in the metric's unit; a side that is None does not decide."""


@dataclass(frozen=True)
class Derivation:
    """How a number that is not published follows from those that are: `words` for people, the metrics that it needs."""

    words: str
    needs: tuple[str, ...]
    compute: Callable[[Mapping[str, float]], float]


@dataclass(frozen=True)
class Metric:
    """One metric.

    `unit` is as written in files and reports, `better` is "lower" or "higher". `tolerance` is how far a measurement may
    be worse than the expected number: relative, or absolute if `is_absolute`; with `is_two_sided` also how far it may
    be better. `accepted` are the smallest and largest tolerance of a value that a site accepts. `allowed` are its
    possible numbers. `doubtful` is the factor beyond which a measurement is too good to be believed; None for no such
    factor.
    """

    name: str
    unit: str
    better: str
    tolerance: float = 0.05
    is_absolute: bool = False
    allowed: Range = POSITIVE
    accepted: tuple[float, float] = (0.01, 0.10)
    is_two_sided: bool = False
    derived: Derivation | None = field(default=None, compare=False)
    doubtful: float | None = None

    def too_good(self, value: float, known: float) -> bool:
        """Return whether `value` is so much better than the `known` number that a fault is likelier than the device.

        >>> METRICS["p_core"].too_good(301.0, 200.0), METRICS["e2e_time"].too_good(301.0, 200.0)
        (True, False)
        """
        if self.doubtful is None:
            return False
        return value > self.doubtful * known if self.better == "higher" else value * self.doubtful < known

    @property
    def spoken_unit(self) -> str:
        """The unit for an error message; "" for a share, whose range says it."""
        return "" if self.unit == "0..1" else self.unit


_DOUBTFUL = 1.5

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("e2e_time", "s", "lower", doubtful=_DOUBTFUL),
        Metric("p_whole", "images/s", "higher", doubtful=_DOUBTFUL),
        Metric("p_train", "images/s", "higher", doubtful=_DOUBTFUL),
        Metric("p_core", "images/s", "higher", doubtful=_DOUBTFUL),
        Metric(
            "map",
            "0..1",
            "higher",
            tolerance=0.004,
            is_absolute=True,
            allowed=Range(0, 1, low_open=True),
            accepted=(0.002, 0.02),
        ),
        Metric("mem", "GiB", "lower"),
    )
}
"""The six metrics that are columns of a vendor's table, by name, in the order of the columns."""

FURTHER_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        # The learning rate falls at set epochs, and the target is reached right after: one epoch more or less is usual.
        Metric(
            "epochs_to_target",
            "epochs",
            "lower",
            tolerance=2,
            is_absolute=True,
            accepted=(1, 2),
            is_two_sided=True,
            derived=Derivation(
                f"e2e_time x p_whole / {COCO_TRAIN_IMAGES} images, at most so many",
                ("e2e_time", "p_whole"),
                lambda published: published["e2e_time"] * published["p_whole"] / COCO_TRAIN_IMAGES,
            ),
        ),
        Metric("bus_bandwidth", "GB/s", "higher"),
        Metric("memory_bandwidth", "GB/s", "higher"),
        Metric("gemm", "TFLOPS", "higher"),
    )
}
"""Metrics that no vendor's table has.

One applies to a cell if there is a number for it, derived from published ones or accepted by the site; else what a run
measured of it is recorded beside the others.
"""

ALL_METRICS: Mapping[str, Metric] = {**METRICS, **FURTHER_METRICS}

LARGEST_TOLERANCE: Mapping[str, float] = {name: metric.accepted[1] for name, metric in ALL_METRICS.items()}
"""By metric, relative, but absolute for `map` and `epochs_to_target`: a wider bound proves nothing. For accepted
values, and device files."""

ABSOLUTE_TOLERANCE = frozenset(name for name, metric in ALL_METRICS.items() if metric.is_absolute)


def one_epoch_more(e2e_s: float, p_whole: float, images: int = COCO_TRAIN_IMAGES) -> float:
    """Return e2e_time in s with one epoch more, which a sound run may need: an epoch takes images / p_whole.

    >>> one_epoch_more(14086, 144)
    14900.3
    """
    return round(e2e_s + images / p_whole, 1)


def default_bounds(
    metric: Metric, value: float, tolerance: float | None = None, capacity: float | None = None
) -> Bounds:
    """Return the bounds around a published `value`; without `tolerance`, the metric's own.

    Higher is better: low = value x (1 - tolerance), for `map` value - tolerance. Lower is better:
    high = value x (1 + tolerance), never above `capacity`. A two-sided metric has both, the low one if it is above 0.

    >>> default_bounds(METRICS["mem"], 28.0, capacity=32.0)
    (None, 29.4)
    """
    if tolerance is None:
        tolerance = metric.tolerance
    # Decimal arithmetic, so that 28.0 x 1.05 is 29.4 and 0.364 - 0.004 is 0.36 to the last digit.
    published, slack = Decimal(repr(float(value))), Decimal(repr(float(tolerance)))
    if not metric.is_absolute:
        slack *= published
    if metric.is_two_sided:
        return float(published - slack) if published > slack else None, float(published + slack)
    if metric.better == "higher":
        return float(published - slack), None
    high = float(published + slack)
    return None, high if capacity is None else min(high, capacity)
