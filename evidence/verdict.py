"""The judgement of a run, and verdict.json, the file that holds it beside the evidence."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, Iterable, Mapping

from evidence.atomic import write_whole
from evidence.errors import EvidenceError
from evidence.fields import FieldError, KindError, decode, flag, number, table, text, texts, whole
from evidence.jsonlines import parse_object

SCHEMA = 2
VERDICT_FILE = "verdict.json"


class Verdict(str, Enum):
    """The six verdicts, from the worst to the best; each is the word that files and reports have for it."""

    INVALID = "invalid"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"
    RECORDED = "recorded"
    PASS = "pass"  # noqa: S105 - a verdict, not a password

    def __str__(self) -> str:
        return str(self.value)

    @classmethod
    def worst(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """Return the worst of the verdicts, of which there is at least one."""
        return min(verdicts, key=list(cls).index)


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval, both ends in the unit of the number that it belongs to."""

    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        """Return the interval of a number that is `factor` (> 0) times as large."""
        return Interval(self.low * factor, self.high * factor)

    def around(self, value: float) -> Interval:
        """Return the interval widened, if rounding left `value` out, to contain it."""
        return Interval(min(self.low, value), max(self.high, value))


@dataclass(frozen=True)
class Workload:
    """What the measured steps of all ranks worked on: counts per image, median loss at the beginning and at the end.

    A loss is NaN if none was finite.
    """

    images: int
    pixels_per_image: float
    proposals_per_image: float
    positives_per_image: float
    first_loss: float
    last_loss: float

    def __str__(self) -> str:
        return (
            f"an image: {self.pixels_per_image:.0f} padded pixels, {self.proposals_per_image:.0f} proposals, "
            f"{self.positives_per_image:.1f} positives; loss {self.first_loss:.3g} to {self.last_loss:.3g}"
        )


@dataclass(frozen=True)
class JudgedCell:
    """The cell that a run was judged as; `card` is the device's index in a run of --each-card, else None."""

    id: str
    device: str
    topology: str
    precision: str
    batch_size: int
    learning_rate: float
    timing: str | None = None
    card: int | None = None

    def __str__(self) -> str:
        return f"{self.topology} {self.precision} bs{self.batch_size} lr{self.learning_rate:g}"

    @property
    def shape(self) -> str:
        """The ranks and hosts in words: "16 ranks on 2 hosts"."""
        nodes, _, devices = self.topology.partition("x")
        if not (nodes.isdigit() and devices.isdigit()):
            return f"topology {self.topology}"
        ranks, hosts = int(nodes) * int(devices), int(nodes)
        return f"{ranks} rank{'s' * (ranks > 1)} on {hosts} host{'s' * (hosts > 1)}"


@dataclass(frozen=True)
class MetricVerdict:
    """The judgement of one metric: `measured`, `interval` and bounds in `unit`.

    `expected`, `low` and `high` are None if nothing is published, or that side does not decide. `better` is "higher" or
    "lower". `method` is how the number was measured, `source` where the expected one is from. An invalid verdict may
    have a `measured` value; it proves nothing.
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
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class RunVerdict:
    """The judgement of a run: `outcome` is the worst verdict of its metrics, `reasons` why it is not a pass.

    `metrics` has the metrics that apply to the cell, in the table's order. `workload` is what the rates were measured
    on, None if no step was measured. `changed` lists the expectations that were others when the run was made.
    `restarts` counts how often the run was started again after it broke off: its numbers are then of the last attempt,
    and no proof. `without` names the trainer's optimizations that were switched off.
    """

    cell: JudgedCell
    simulated: bool
    protocol: str
    outcome: Verdict
    reasons: tuple[str, ...]
    metrics: Mapping[str, MetricVerdict]
    workload: Workload | None = None
    changed: tuple[str, ...] = ()
    restarts: int = 0
    without: tuple[str, ...] = ()

    @property
    def broken(self) -> str:
        """Why the run's evidence cannot be trusted; "" if it can."""
        return "; ".join(self.reasons) if self.outcome is Verdict.INVALID else ""


@dataclass(frozen=True)
class ComparedDevice:
    """One device of a host beside the others: `share` is its p_core over the median of theirs, None without numbers."""

    card: int
    serial: str
    p_core: float | None
    interval: Interval | None
    share: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """The judgement of runs, ranks or devices beside each other: `judged.metric` is efficiency, skew or siblings.

    `than` is the smaller topology's cell (efficiency), `slowest` the slowest rank (skew), `devices` those of the host
    (siblings).
    """

    cell: str
    judged: MetricVerdict
    than: str = ""
    slowest: str = "-"
    devices: tuple[ComparedDevice, ...] = ()


def encode(verdict: RunVerdict) -> dict[str, Any]:
    """Return the verdict as strict JSON; an interval is [low, high], a number that is not finite null."""
    cell = {name: value for name, value in asdict(verdict.cell).items() if name != "card" or value is not None}
    return {
        "schema": SCHEMA,
        "cell": cell,
        "simulated": verdict.simulated,
        "protocol": verdict.protocol,
        "restarts": verdict.restarts,
        "without": list(verdict.without),
        "outcome": verdict.outcome.value,
        "reasons": list(verdict.reasons),
        "metrics": {name: encode_metric(metric) for name, metric in verdict.metrics.items()},
        "workload": None if verdict.workload is None else _finite(asdict(verdict.workload)),
        "changed": list(verdict.changed),
    }


def encode_metric(metric: MetricVerdict) -> dict[str, Any]:
    """Return the verdict on one metric as strict JSON, without the metric's name."""
    record = {field.name: getattr(metric, field.name) for field in fields(metric) if field.name != "metric"}
    return _finite({**record, "interval": _ends(metric.interval), "verdict": metric.verdict.value})


def decode_verdict(record: Mapping[str, Any]) -> RunVerdict:
    """Return the verdict that `encode` made an object of. Raises FieldError, which names the first wrong field."""
    values = decode(
        record,
        {
            "schema": whole,
            "cell": _cell,
            "simulated": flag,
            "protocol": text,
            "outcome": _verdict,
            "reasons": texts,
            "metrics": table,
            "changed": texts,
        },
        {"workload": _workload, "restarts": whole, "without": texts},  # files of earlier versions lack these
    )
    schema = values.pop("schema")
    if schema != SCHEMA:
        raise FieldError(f"schema {schema}, expected {SCHEMA}")
    values.update(restarts=values["restarts"] or 0, without=values["without"] or ())
    values["metrics"] = {name: decode_metric(name, metric) for name, metric in values["metrics"].items()}
    return RunVerdict(**values)


def decode_metric(name: str, record: Any) -> MetricVerdict:
    """Return the verdict on the metric `name` that `encode_metric` made an object of. Raises FieldError."""
    values = decode(
        table(record),
        {"unit": text, "better": text, "method": text, "source": text, "verdict": _verdict, "reason": text},
        {"measured": number, "interval": _interval, "expected": number, "low": number, "high": number},
    )
    return MetricVerdict(metric=name, **values)


def encode_comparison(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as strict JSON."""
    devices = [
        _finite({**vars(one), "interval": _ends(one.interval), "verdict": one.verdict.value})
        for one in comparison.devices
    ]
    judged = {"metric": comparison.judged.metric, **encode_metric(comparison.judged)}
    return {**vars(comparison), "judged": judged, "devices": devices}


def decode_comparison(record: Mapping[str, Any]) -> Comparison:
    """Return the comparison that `encode_comparison` made an object of. Raises FieldError."""
    values = decode(record, {"cell": text, "than": text, "slowest": text, "judged": table, "devices": _devices})
    return Comparison(**{**values, "judged": decode_metric(text(values["judged"].get("metric")), values["judged"])})


def write_verdict(run_dir: Path, verdict: RunVerdict) -> Path:
    """Write verdict.json into `run_dir`, in one piece, and return its path. Raises OSError."""
    path = Path(run_dir) / VERDICT_FILE
    write_whole(path, json.dumps(encode(verdict), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read_verdict(run_dir: Path) -> RunVerdict:
    """Return the verdict that was written into `run_dir`. Raises EvidenceError if it is absent or damaged."""
    path = Path(run_dir) / VERDICT_FILE
    try:
        return decode_verdict(parse_object(path.read_bytes()))
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read ({error.strerror}); judge the run first") from None
    except ValueError as error:
        raise EvidenceError(f"{path}: found no verdict ({error}); judge the run again") from None


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in record.items()
    }


def _cell(value: Any) -> JudgedCell:
    kinds = {**dict.fromkeys(("id", "device", "topology", "precision"), text), "batch_size": whole}
    return JudgedCell(**decode(table(value), {**kinds, "learning_rate": number}, {"timing": text, "card": whole}))


def _workload(value: Any) -> Workload:
    names = [field.name for field in fields(Workload) if field.name != "images"]
    values = decode(table(value), {"images": whole}, dict.fromkeys(names, number))
    return Workload(
        values.pop("images"), **{name: math.nan if found is None else found for name, found in values.items()}
    )


def _devices(value: Any) -> tuple[ComparedDevice, ...]:
    if type(value) is not list:
        raise KindError("a list of devices")
    kinds = {"card": whole, "serial": text, "verdict": _verdict}
    optional = {"p_core": number, "interval": _interval, "share": number}
    return tuple(ComparedDevice(**decode(table(one), kinds, optional)) for one in value)


def _verdict(value: Any) -> Verdict:
    try:
        return Verdict(value)
    except ValueError:
        raise KindError(f"one of {', '.join(Verdict)}") from None


def _interval(value: Any) -> Interval:
    if type(value) is not list or len(value) != 2:
        raise KindError("a list of two numbers")
    return Interval(number(value[0]), number(value[1]))
