"""A run's folder and its verdict as rows of the history's tables."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from evidence.bundle import RUN_FILE, Evidence, read_run
from evidence.codec import parse_object, text
from evidence.errors import EvidenceError, SuiteError
from evidence.jsonlines import Problems, read_objects
from evidence.seal import SEAL_FILE
from expected import METRICS, Device, load_devices
from reports.history.errors import HistoryError
from verdict.compare.likeness import circumstances
from verdict.compare.provenance import read_provenance
from verdict.environment.findings import environment_findings
from verdict.lookup import find_cell

Row = Mapping[str, Any]

_VERSIONS_FOUND = ("os", "kernel", "driver", "framework", "image")
"""Items of the environment that count as versions, where neither run.json nor a rank names them."""


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
    run_dir: Path, verdict: Mapping[str, Any], *, release: str = "", evidence: Evidence | None = None
) -> Entry:
    """The rows of the run in `run_dir`, whose verdict.json is `verdict`; `evidence` where it has been read already.

    What is damaged or was never written stays empty: also a run that failed belongs in the history. Raises HistoryError
    where there is no such folder.
    """
    run_dir = Path(run_dir)
    try:
        evidence = read_run(run_dir) if evidence is None else evidence
    except EvidenceError as error:
        raise HistoryError(str(error)) from None
    raw = _content(run_dir / RUN_FILE)
    seal = _content(run_dir / SEAL_FILE)
    sealed = hashlib.sha256(seal).hexdigest() if seal else ""
    record = _object(raw)
    run_id = _text(record.get("id")) or run_dir.name
    # Without a seal the run's own file tells it from another one of that name.
    told_apart = sealed or hashlib.sha256(raw).hexdigest()
    identity = hashlib.sha256(f"{run_id}\n{told_apart}".encode("utf-8", "surrogatepass")).hexdigest()
    run = {
        "identity": identity,
        "run_id": run_id,
        "folder": str(run_dir),
        "seal_sha256": sealed,
        "release_label": release,
        **_of_run_file(record),
        **_of_verdict(verdict),
        "circumstances": _json(circumstances(evidence, _text(verdict["metrics"].get("p_core", {}).get("method")))),
    }
    findings = tuple(_findings(evidence))
    return Entry(
        run=run,
        cards=tuple(_cards(evidence)),
        versions=tuple(_versions(evidence, record, findings)),
        metrics=tuple(_metrics(verdict)),
        findings=findings,
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return parse_object(raw)
    except ValueError:
        return {}


def _of_run_file(record: Mapping[str, Any]) -> Row:
    command = record.get("command")
    limits = {name: record.get(name) for name in ("steps", "epochs") if record.get(name) is not None}
    return {
        "limits": ", ".join(f"{_whole(limit)} {name}" for name, limit in limits.items()),
        "started_utc": _text(record.get("started_utc")),
        "ended_utc": _text(record.get("ended_utc")),
        "command": _json([_text(word) for word in command] if isinstance(command, list) else []),
    }


def _of_verdict(verdict: Mapping[str, Any]) -> Row:
    cell = verdict["cell"]
    return {
        "cell_id": _text(cell.get("id")),
        **{name: _text(cell.get(name)) for name in ("device", "topology", "precision", "timing")},
        "batch_size": _whole(cell.get("batch_size")),
        "learning_rate": _real(cell.get("learning_rate")),
        "card": _whole(cell.get("card")),
        "protocol": _protocol(verdict),
        "simulated": bool(verdict["simulated"]),
        "restarts": _whole(verdict.get("restarts")) or 0,
        "outcome": _text(verdict["outcome"]),
        "reasons": _json([_text(reason) for reason in verdict["reasons"]]),
    }


def _protocol(verdict: Mapping[str, Any]) -> str:
    """The protocol and what was switched off: a run without it is a way of measuring of its own, and its own course."""
    without = verdict.get("without") or ()
    return _text(verdict["protocol"] + (f" without {', '.join(without)}" if without else ""))


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
        for _, record in read_objects((evidence.path / rank.file).read_bytes(), Problems(rank.file)):
            if record.get("event") == "start":
                yield rank.rank, _text(record.get("driver"))
                break


def _versions(evidence: Evidence, record: Mapping[str, Any], findings: Sequence[Row]) -> Iterator[Row]:
    found: dict[str, str] = {}
    for finding in findings:
        if finding["item"] in _VERSIONS_FOUND and finding["found"]:
            found.setdefault(finding["item"], finding["found"])
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


def _metrics(verdict: Mapping[str, Any]) -> Iterator[Row]:
    for name, metric in verdict["metrics"].items():
        if name not in METRICS:
            continue
        interval = metric["interval"] or (None, None)
        yield {
            "metric": name,
            **{key: _real(metric[key]) for key in ("measured", "expected", "low", "high")},
            "interval_low": _real(interval[0]),
            "interval_high": _real(interval[1]),
            **{key: _text(metric[key]) for key in ("unit", "better", "method", "source", "verdict", "reason")},
        }


def _findings(evidence: Evidence) -> Iterator[Row]:
    device = _device(evidence)
    if device is not None:
        for finding in environment_findings(evidence, device):
            yield asdict(finding)


def _device(evidence: Evidence) -> Device | None:
    try:
        return find_cell(evidence, load_devices())[0]
    except SuiteError:
        return None  # of a cell that no table has any more, there is no document to hold it against


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    try:
        return text(value)
    except ValueError:
        return ""


def _whole(value: Any) -> int | None:
    return value if type(value) is int and abs(value) < 2**62 else None


def _real(value: Any) -> float | None:
    if type(value) not in (int, float):
        return None
    try:
        decoded = float(value)
    except OverflowError:
        return None
    return decoded if math.isfinite(decoded) else None
