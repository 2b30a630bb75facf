"""A run as OpenMetrics text, for the textfile collector of Prometheus' node_exporter.

Gauges only and no time stamps: what both the OpenMetrics format and node_exporter's older text format read.
https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

import math
from typing import Mapping

from evidence.verdict import RunVerdict, Verdict

PREFIX = "conformance"

FAMILIES = {
    "run_info": "The run that the other samples are of; always 1.",
    "running": "1 while the run goes on, 0 when it has ended.",
    "elapsed_seconds": "Time since the run was started.",
    "left_seconds": "Time that the run is estimated to take at most.",
    "epoch": "Epoch in training, from 1.",
    "step": "Steps of the epoch, or of a run without epochs.",
    "images_per_second": "Images of all ranks over the time of the last window of steps.",
    "loss": "Training loss of the last step, of rank 0.",
    "measured": "What the run has measured of a metric, so far while it goes on.",
    "interval_low": "Lower end of the 95 % confidence interval of a rate.",
    "interval_high": "Upper end of the 95 % confidence interval of a rate.",
    "bound_low": "Least value of a metric that passes.",
    "bound_high": "Largest value of a metric that passes.",
    "published": "Value that the vendor publishes, or that the site accepted.",
    "verdict": "1 for the verdict on a metric, provisional while the run goes on, 0 for the other verdicts.",
}
"""The names, without their prefix, and what they are."""


def openmetrics(verdict: RunVerdict, run: str, numbers: Mapping[str, float | None]) -> str:
    """Return the text; `run` is the run's id, `numbers` are samples of the run as a whole by name.

    >>> print(openmetrics(verdict, "20261123T101200Z-r300-1x8-fp32", {"running": 1, "epoch": 3}))  # doctest: +SKIP
    # HELP conformance_run_info The run that the other samples are of; always 1.
    ...
    """
    cell = verdict.cell
    of_run = {"cell": cell.id}  # the run's id is a label of run_info alone: it would make new series of every run
    info = {**of_run, "run": run, "device": cell.device, "topology": cell.topology, "precision": cell.precision}
    outcome = "running" if verdict.provisional else verdict.outcome.value
    info.update(protocol=verdict.protocol, simulated=str(verdict.simulated).lower(), outcome=outcome)
    samples: dict[str, list[str]] = {"run_info": [_sample("run_info", info, 1)]}
    for name, value in numbers.items():
        samples[name] = _samples(name, of_run, value)
    for metric in verdict.shown.values():
        labels = {**of_run, "metric": metric.metric, "unit": metric.unit}
        interval = metric.interval
        of_metric = {
            "measured": metric.measured,
            "interval_low": None if interval is None else interval.low,
            "interval_high": None if interval is None else interval.high,
            "bound_low": metric.low,
            "bound_high": metric.high,
            "published": metric.expected,
        }
        for name, value in of_metric.items():
            samples.setdefault(name, []).extend(_samples(name, labels, value))
        samples.setdefault("verdict", []).extend(
            _sample("verdict", {**of_run, "metric": metric.metric, "verdict": one.value}, int(one is metric.verdict))
            for one in Verdict
        )
    lines = []
    for name, purpose in FAMILIES.items():
        if samples.get(name):
            lines += [f"# HELP {PREFIX}_{name} {purpose}", f"# TYPE {PREFIX}_{name} gauge", *samples[name]]
    return "\n".join([*lines, "# EOF", ""])


def _samples(name: str, labels: Mapping[str, str], value: float | None) -> list[str]:
    return [] if value is None or not math.isfinite(value) else [_sample(name, labels, value)]


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{PREFIX}_{name}{{{shown}}} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
