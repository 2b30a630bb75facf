"""Measures and judges a run from its evidence alone: no hardware, no clock, no torch."""

from __future__ import annotations

from verdict.clocks import clock_faults
from verdict.errors import EvidenceError
from verdict.evidence import Evidence, read_run
from verdict.invariants import violations
from verdict.judge import (
    FAIL,
    INCONCLUSIVE,
    INVALID,
    MISSING,
    PASS,
    RECORDED,
    VERDICTS,
    MetricVerdict,
    RunVerdict,
    judge_metric,
    judge_run,
)
from verdict.measure import PROTOCOL_METRICS, compared_value, measure, protocol_metrics
from verdict.measurement import Measurement
from verdict.record import read_verdict, to_json, write_verdict
from verdict.statistics import Interval
from verdict.step_times import StepTimes, step_times

__all__ = [
    "FAIL",
    "INCONCLUSIVE",
    "INVALID",
    "MISSING",
    "PASS",
    "PROTOCOL_METRICS",
    "RECORDED",
    "VERDICTS",
    "Evidence",
    "EvidenceError",
    "Interval",
    "Measurement",
    "MetricVerdict",
    "RunVerdict",
    "StepTimes",
    "clock_faults",
    "compared_value",
    "judge_metric",
    "judge_run",
    "measure",
    "protocol_metrics",
    "read_run",
    "read_verdict",
    "step_times",
    "to_json",
    "violations",
    "write_verdict",
]
