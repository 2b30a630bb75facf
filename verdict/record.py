"""The verdict of a run as a file beside its evidence: verdict.json."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from evidence.codec import FieldError, KindError, decode_fields, flag, number, parse_object, table, text, texts, whole
from evidence.errors import EvidenceError
from evidence.files import write_whole
from verdict.checks.workload import Workload
from verdict.judge import VERDICTS, MetricVerdict, RunVerdict
from verdict.metrics.statistics import Interval

SCHEMA = 2
VERDICT_FILE = "verdict.json"


def to_json(run_verdict: RunVerdict) -> dict[str, Any]:
    """The verdict as an object of strict JSON; an interval is [low, high], what is no number is null."""
    return {
        "schema": SCHEMA,
        "cell": {"id": run_verdict.cell_id, **run_verdict.cell_parts},
        "simulated": run_verdict.simulated,
        "protocol": run_verdict.protocol,
        "restarts": run_verdict.restarts,
        "without": list(run_verdict.without),
        "outcome": run_verdict.outcome,
        "reasons": list(run_verdict.reasons),
        "metrics": {name: _metric_to_json(metric) for name, metric in run_verdict.metrics.items()},
        "workload": None if run_verdict.workload is None else _numbers(asdict(run_verdict.workload)),
        "changed": list(run_verdict.changed),
    }


def write_verdict(run_dir: Path, run_verdict: RunVerdict) -> Path:
    """Write verdict.json into `run_dir` and return its path; a reader finds the old file or the new, never half."""
    path = Path(run_dir) / VERDICT_FILE
    content = json.dumps(to_json(run_verdict), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, content + "\n")
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


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in record.items()}


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
    values = decode_fields(
        record,
        {
            "schema": whole,
            "cell": table,
            "simulated": flag,
            "protocol": text,
            "outcome": _verdict,
            "reasons": texts,
            "metrics": table,
            "changed": texts,
        },
        # Before there were these, files said nothing of them.
        {"workload": _workload, "restarts": whole, "without": texts},
    )
    values.update(restarts=values["restarts"] or 0, without=values["without"] or ())
    schema = values.pop("schema")
    if schema != SCHEMA:
        raise FieldError(f"schema {schema}, expected {SCHEMA}")
    parts = dict(values.pop("cell"))
    cell_id = text(parts.pop("id", None))
    metrics = {name: _metric(name, metric) for name, metric in values.pop("metrics").items()}
    return RunVerdict(cell_id=cell_id, cell_parts=parts, metrics=metrics, **values)


def _metric(name: str, record: Any) -> MetricVerdict:
    values = decode_fields(
        table(record),
        {"unit": text, "better": text, "method": text, "source": text, "verdict": _verdict, "reason": text},
        {"measured": number, "interval": _interval, "expected": number, "low": number, "high": number},
    )
    return MetricVerdict(metric=name, **values)


def _workload(value: Any) -> Workload:
    names = [field.name for field in fields(Workload) if field.name != "images"]
    # null is what a number that is none was written as.
    values = decode_fields(table(value), {"images": whole}, dict.fromkeys(names, number))
    images = values.pop("images")
    return Workload(images, **{name: math.nan if found is None else found for name, found in values.items()})


def _verdict(value: Any) -> str:
    if value not in VERDICTS:
        raise KindError(f"one of {', '.join(VERDICTS)}")
    return text(value)


def _interval(value: Any) -> Interval:
    if type(value) is not list or len(value) != 2:
        raise KindError("a list of two numbers")
    return Interval(number(value[0]), number(value[1]))
