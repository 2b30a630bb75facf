"""The verdict of a run as a file beside its evidence: verdict.json."""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from verdict.errors import EvidenceError
from verdict.fields import FieldError, KindError, decode, flag, number, table, text, whole
from verdict.jsonlines import parse_object
from verdict.judge import VERDICTS, MetricVerdict, RunVerdict
from verdict.statistics import Interval

SCHEMA = 1
VERDICT_FILE = "verdict.json"


def to_json(run_verdict: RunVerdict) -> dict[str, Any]:
    """The verdict as an object of strict JSON; an interval is [low, high], what is no number is null."""
    return {
        "schema": SCHEMA,
        "cell": {"id": run_verdict.cell_id, **run_verdict.cell_parts},
        "simulated": run_verdict.simulated,
        "protocol": run_verdict.protocol,
        "outcome": run_verdict.outcome,
        "reasons": list(run_verdict.reasons),
        "metrics": {name: _metric_to_json(metric) for name, metric in run_verdict.metrics.items()},
    }


def write_verdict(run_dir: Path, run_verdict: RunVerdict) -> Path:
    """Write verdict.json into `run_dir` and return its path; a reader finds the old file or the new, never half."""
    path = Path(run_dir) / VERDICT_FILE
    content = json.dumps(to_json(run_verdict), indent=2, ensure_ascii=False, allow_nan=False)
    # The process id: several judges of the same run must not write into one another's file.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(content + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError:
        if partial.exists():
            partial.unlink()
        raise
    return path


def read_verdict(run_dir: Path) -> RunVerdict:
    """The verdict that was written into `run_dir`; EvidenceError where there is none or it is not one."""
    path = Path(run_dir) / VERDICT_FILE
    try:
        return _from_json(parse_object(path.read_bytes()))
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read ({error.strerror}); judge the run first") from None
    except ValueError as error:
        raise EvidenceError(f"{path}: found no verdict ({error}); judge the run again") from None


def _metric_to_json(metric: MetricVerdict) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for field in fields(metric):
        value = getattr(metric, field.name)
        if isinstance(value, Interval):
            value = [value.low, value.high]
        elif isinstance(value, float) and not math.isfinite(value):
            value = None
        if field.name != "metric":
            record[field.name] = value
    return record


def _from_json(record: dict[str, Any]) -> RunVerdict:
    values = decode(
        record,
        {
            "schema": whole,
            "cell": table,
            "simulated": flag,
            "protocol": text,
            "outcome": _verdict,
            "reasons": _texts,
            "metrics": table,
        },
    )
    schema = values.pop("schema")
    if schema != SCHEMA:
        raise FieldError(f"schema {schema}, expected {SCHEMA}")
    parts = dict(values.pop("cell"))
    cell_id = text(parts.pop("id", None))
    metrics = {name: _metric(name, metric) for name, metric in values.pop("metrics").items()}
    return RunVerdict(cell_id=cell_id, cell_parts=parts, metrics=metrics, **values)


def _metric(name: str, record: Any) -> MetricVerdict:
    values = decode(
        table(record),
        {"unit": text, "better": text, "method": text, "source": text, "verdict": _verdict, "reason": text},
        {"measured": number, "interval": _interval, "expected": number, "low": number, "high": number},
    )
    return MetricVerdict(metric=name, **values)


def _verdict(value: Any) -> str:
    if value not in VERDICTS:
        raise KindError(f"one of {', '.join(VERDICTS)}")
    return text(value)


def _texts(value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise KindError("a list of strings")
    return tuple(text(part) for part in value)


def _interval(value: Any) -> Interval:
    if type(value) is not list or len(value) != 2:
        raise KindError("a list of two numbers")
    return Interval(number(value[0]), number(value[1]))
