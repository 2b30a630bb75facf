"""What a device does at most as metrics: for a site's baseline, the history, and comparisons of releases."""

from __future__ import annotations

import math
import statistics

from evidence.bundle import Evidence
from evidence.events.peaks import GEMM, MEMORY_COPY, DeviceRate
from evidence.run_file import PROBES, TRAINING
from evidence.verdict import Interval
from expected import FURTHER_METRICS
from verdict.metrics.links import mean_interval, over, shortened
from verdict.metrics.measurement import Measurement, metric


def interval_of(rate: DeviceRate) -> Interval:
    """Return the 95 % interval of the mean of the repeats, in GB/s or TFLOPS; one repeat has no width."""
    if len(rate.times_ns) < 2 or not math.isfinite(rate.rate):
        return Interval(rate.rate, rate.rate)
    return over(rate.rate * statistics.fmean(rate.times_ns), mean_interval(rate.times_ns))


@metric("gemm", *TRAINING, PROBES, of="model", without=shortened)
def gemm(evidence: Evidence) -> Measurement | None:
    """Matrix products in the format that the row multiplies in, on the slowest device, in TFLOPS."""
    return _slowest(evidence, "gemm", GEMM)


@metric("memory_bandwidth", *TRAINING, PROBES, of="model", without=shortened)
def memory_bandwidth(evidence: Evidence) -> Measurement | None:
    """Copy within the device's memory, read and written bytes added, on the slowest device, in GB/s."""
    return _slowest(evidence, "memory_bandwidth", MEMORY_COPY)


def _slowest(evidence: Evidence, name: str, of: str) -> Measurement | None:
    found = [[one for one in rank.rates if one.of == of and one.times_ns] for rank in evidence.ranks]
    last = [mine[-1] for mine in found if mine]  # of several formats the row's own comes last
    if not last:
        return None
    slowest = min(last, key=lambda one: one.rate)
    interval = interval_of(slowest)
    method = f"{slowest.name} on the slowest of {len(last)} devices"
    return Measurement(
        name,
        slowest.rate,
        FURTHER_METRICS[name].unit,
        interval if math.isfinite(interval.high) else None,
        method,
        "rank files",
        len(slowest.times_ns),
    )
