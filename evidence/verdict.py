"""The judgement of a run, and verdict.json, the file that holds it beside the evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Iterable, Mapping

from evidence.codec import (
    FieldError,
    KindError,
    any_number,
    decode,
    decode_fields,
    dumps,
    encode,
    number,
    parse_object,
    table,
    whole,
)
from evidence.errors import EvidenceError
from evidence.files import SCHEMA, VERDICT_FILE, other_schema, write_whole
from evidence.run_file import RunCell


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


_FLOATS = ("pixels_per_image", "proposals_per_image", "positives_per_image", "first_loss", "last_loss")


@dataclass(frozen=True)
class JudgedCell(RunCell):
    """The cell that a run was judged as.

    `card` is the device's index in a run of --each-card, `host` the host's name in one of --each-host, else None.
    """

    card: int | None = None
    host: str | None = None

    @property
    def place(self) -> str:
        """The one device or host that the run was bound to: "device 3", "host gpu-07"; else ""."""
        if self.host is not None:
            return f"host {self.host}"
        return "" if self.card is None else f"device {self.card}"

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
    have a `measured` value; it proves nothing. `note`, which ends the reason, is what to know before relying on the
    verdict, as that it could not have been another one; "" for nothing. Where the verdict is inconclusive, `more_steps`
    is how many more measured steps would decide, or `boots` how many boots judged together; 0 if that is not known.
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
    note: str = ""
    more_steps: int = 0
    boots: int = 0


@dataclass(frozen=True)
class ProbeVerdict:
    """The judgement of a probe of the device in one line: what was found and what had to be, in words."""

    measured: str
    bound: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class RunVerdict:
    """The judgement of a run: `outcome` is the worst verdict of its metrics, `reasons` why it is not a pass.

    `metrics` has the metrics that apply to the cell, in the table's order. `workload` is what the rates were measured
    on, None if no step was measured. `changed` lists the expectations that were others when the run was made.
    `restarts` counts how often the run was started again after it broke off: its numbers are then of the last attempt,
    and no proof. `without` names the trainer's optimizations that were switched off. `further` has what was measured
    besides and has no number to be held against: it is recorded, and no part of the outcome. `probes` has the probes of
    the device by name; their questions decide, not the outcome. `notes` say what a reader of the numbers has to know
    and what decides nothing. `provisional`: the run had not ended, so that all of it is what the run would be worth if
    it ended there; such a verdict is shown and never stored.
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
    further: Mapping[str, MetricVerdict] = field(default_factory=dict)
    probes: Mapping[str, ProbeVerdict] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provisional: bool = False

    @property
    def shown(self) -> Mapping[str, MetricVerdict]:
        """Everything that was measured: the metrics that apply to the cell, and further ones."""
        return {**self.metrics, **self.further}

    @property
    def broken(self) -> str:
        """Why the run's evidence cannot be trusted; "" if it can."""
        return "; ".join(self.reasons) if self.outcome is Verdict.INVALID else ""


@dataclass(frozen=True)
class ComparedDevice:
    """A device or host beside its siblings: `share` is its p_core over the median of theirs, None without numbers.

    `place` is as in JudgedCell, `serial` that of a device, or the name that a host has for itself.
    """

    place: str
    serial: str
    p_core: float | None
    interval: Interval | None
    share: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """The judgement of runs, ranks or devices beside each other: `judged.metric` is efficiency, skew or siblings.

    Also of devices before and after their training: health.

    `than` is the smaller topology's cell (efficiency), `slowest` the slowest rank (skew), `devices` those of the host,
    or the hosts (siblings), the worst first.
    """

    cell: str
    judged: MetricVerdict
    than: str = ""
    slowest: str = "-"
    devices: tuple[ComparedDevice, ...] = ()


def encode_verdict(verdict: RunVerdict) -> dict[str, Any]:
    """Return the verdict as strict JSON; an interval is [low, high], a number that is not finite null."""
    record: dict[str, Any] = {"schema": SCHEMA, **encode(verdict)}
    for place in ("card", "host"):
        if record["cell"][place] is None:
            del record["cell"][place]
    if not verdict.provisional:
        del record["provisional"]
    record["metrics"] = {name: encode_metric(metric) for name, metric in verdict.metrics.items()}
    record["further"] = {name: encode_metric(metric) for name, metric in verdict.further.items()}
    for part in ("further", "probes"):
        if not record[part]:
            del record[part]
    record["workload"] = record["workload"] and _finite(record["workload"])
    return record


def encode_metric(metric: MetricVerdict) -> dict[str, Any]:
    """Return the verdict on one metric as strict JSON, without the metric's name."""
    record = encode(metric)
    del record["metric"]
    for optional in ("note", "more_steps", "boots"):
        if not record[optional]:
            del record[optional]
    return _finite({**record, "interval": record["interval"] and list(record["interval"].values())})


def decode_verdict(record: Mapping[str, Any]) -> RunVerdict:
    """Return the verdict that `encode_verdict` made an object of. Raises FieldError, which names the wrong field."""
    parts = {"workload": _workload, "further": table, "probes": table}
    given = decode_fields(record, {"schema": whole, "metrics": table}, parts)
    schema = given.pop("schema")
    if other_schema(schema):
        raise FieldError(other_schema(schema))
    for part in ("metrics", "further"):
        given[part] = {name: _metric(name, table(metric)) for name, metric in (given[part] or {}).items()}
    given["probes"] = {name: decode(ProbeVerdict, table(one)) for name, one in (given["probes"] or {}).items()}
    return decode(RunVerdict, record, **given)


def write_verdict(run_dir: Path, verdict: RunVerdict) -> Path:
    """Write verdict.json into `run_dir`, in one piece, and return its path. Raises OSError."""
    path = Path(run_dir) / VERDICT_FILE
    write_whole(path, dumps(encode_verdict(verdict), indent=2) + "\n")
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


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in record.items()
    }


def _metric(name: str, record: Mapping[str, Any]) -> MetricVerdict:
    return decode(MetricVerdict, record, metric=name, **decode_fields(record, {}, {"interval": _interval}))


def _interval(value: Any) -> Interval:
    if type(value) is not list or len(value) != 2:
        raise KindError("a list of two numbers")
    return Interval(number(value[0]), number(value[1]))


def _workload(value: Any) -> Workload:
    found = {name: math.nan if one is None else one for name, one in table(value).items()}
    return Workload(**decode_fields(found, {"images": whole, **dict.fromkeys(_FLOATS, any_number)}))
