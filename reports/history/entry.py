"""A judged run as rows of the history's tables."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from evidence.bundle import RUN_FILE, Evidence
from evidence.errors import SuiteError
from evidence.jsonlines import Problems, parse_object, read_objects
from evidence.seal import SEAL_FILE
from evidence.verdict import MetricVerdict, RunVerdict, encode_metric
from expected import METRICS
from verdict.compare.comparability import circumstances, read_provenance
from verdict.environment.findings import EnvironmentFinding

Row = Mapping[str, Any]

_VERSIONS_FOUND = ("os", "kernel", "driver", "framework", "image")
"""Items of the environment that count as versions unless run.json or a rank names them."""


@dataclass(frozen=True)
class Entry:
    """The rows of one run, by table; those below the run lack its number, which the database gives."""

    run: Row
    cards: tuple[Row, ...] = ()
    versions: tuple[Row, ...] = ()
    metrics: tuple[Row, ...] = ()
    findings: tuple[Row, ...] = ()

    @property
    def rows(self) -> Mapping[str, tuple[Row, ...]]:
        """The rows below the run by the name of their table."""
        return {"cards": self.cards, "versions": self.versions, "metrics": self.metrics, "findings": self.findings}


def read_entry(
    evidence: Evidence, verdict: RunVerdict, findings: Sequence[EnvironmentFinding], *, release: str = ""
) -> Entry:
    """Return the rows of a run from its evidence, its verdict and what was found of its hosts.

    `release` is the label that it is filed under.
    What is damaged or was never written stays empty: a run that failed belongs in the history, too.
    """
    cell = verdict.cell
    raw, seal = _content(evidence.path / RUN_FILE), _content(evidence.path / SEAL_FILE)
    record = _object(raw)
    run_id = _text(record.get("id")) or evidence.path.name
    sealed = _sha256(seal) if seal else ""
    p_core = verdict.metrics.get("p_core")
    return Entry(
        run={
            # Without a seal, run.json itself is what differs between two runs of that name.
            "identity": _sha256(f"{run_id}\n{sealed or _sha256(raw)}".encode("utf-8", "surrogatepass")),
            "run_id": run_id,
            "folder": str(evidence.path),
            "cell_id": cell.id,
            **{
                name: getattr(cell, name) for name in ("device", "topology", "precision", "batch_size", "learning_rate")
            },
            "timing": cell.timing or "",
            "card": cell.card,
            # A run without an optimization is measured in a way of its own, and makes a time series of its own.
            "protocol": verdict.protocol + (f" without {', '.join(verdict.without)}" if verdict.without else ""),
            "simulated": verdict.simulated,
            "restarts": verdict.restarts,
            "outcome": verdict.outcome.value,
            "reasons": _json(verdict.reasons),
            **_of_run_file(record),
            "seal_sha256": sealed,
            "release_label": release,
            "circumstances": _json(circumstances(evidence, "" if p_core is None else p_core.method)),
        },
        cards=tuple(_cards(evidence)),
        versions=tuple(_versions(evidence, record, findings)),
        metrics=tuple(_metric(metric) for name, metric in verdict.metrics.items() if name in METRICS),
        findings=tuple(map(asdict, findings)),
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return parse_object(raw)
    except ValueError:
        return {}


def _of_run_file(record: Mapping[str, Any]) -> Row:
    command = record.get("command")
    limits = {name: record.get(name) for name in ("steps", "epochs") if type(record.get(name)) is int}
    return {
        "limits": ", ".join(f"{limit} {name}" for name, limit in limits.items()),
        "started_utc": _text(record.get("started_utc")),
        "ended_utc": _text(record.get("ended_utc")),
        "command": _json([_text(word) for word in command] if isinstance(command, list) else []),
    }


def _cards(evidence: Evidence) -> Iterator[Row]:
    drivers = dict(_drivers(evidence))
    for rank, start in evidence.starts:
        yield {
            "rank": rank,
            "host": start.host,
            "card": start.card,
            "name": start.device_name,
            "serial": start.serial or "",
            "driver": drivers.get(rank, ""),
        }


def _drivers(evidence: Evidence) -> Iterator[tuple[int, str]]:
    for rank in evidence.ranks:
        for _, record in read_objects(evidence.path / rank.file, Problems(rank.file)):
            if record.get("event") == "start":
                yield rank.rank, _text(record.get("driver"))
                break


def _versions(evidence: Evidence, record: Mapping[str, Any], findings: Sequence[EnvironmentFinding]) -> Iterator[Row]:
    found: dict[str, str] = {}
    for finding in findings:
        if finding.item in _VERSIONS_FOUND and finding.found:
            found.setdefault(finding.item, finding.found)
    environment = record.get("environment")
    if isinstance(environment, dict):
        found.update({name: _text(environment.get(name)) for name in ("os", "kernel", "python")})
    try:
        origin = read_provenance(evidence)
    except SuiteError:
        pass  # said in the run's reasons
    else:
        found.update(origin.versions)
        found.update({"driver": origin.driver} if origin.driver else {})
    return ({"name": name, "version": version} for name, version in found.items() if version)


def _metric(metric: MetricVerdict) -> Row:
    row = encode_metric(metric)
    low, high = row.pop("interval") or (None, None)
    return {"metric": metric.metric, **row, "interval_low": low, "interval_high": high}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
