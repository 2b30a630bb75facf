"""A judged run as rows of the history's tables."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.errors import SuiteError
from evidence.events.setup import Start
from evidence.run_file import Run
from evidence.verdict import MetricVerdict, RunVerdict, encode_metric
from expected import ALL_METRICS
from verdict.compare.comparability import circumstances, operator_bits, read_provenance
from verdict.environment.findings import EnvironmentFinding

Row = Mapping[str, Any]

_VERSIONS_FOUND = ("os", "kernel", "driver", "framework", "image")
"""Items of the environment that count as versions unless run.json or a rank names them."""
_FINDING = ("item", "host", "stated", "found", "verdict", "reason")


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
    evidence: Evidence,
    verdict: RunVerdict,
    findings: Sequence[EnvironmentFinding],
    *,
    release: str = "",
    gate: str = "",
) -> Entry:
    """Return the rows of a run from its evidence, its verdict and what was found of its hosts.

    `release` is the label that it is filed under, `gate` the outcome of the gate's session, "" without --gate.
    What is damaged or was never written stays empty: a run that failed belongs in the history, too.
    """
    cell, run = verdict.cell, evidence.run
    run_id = evidence.path.name if run is None else run.id
    sealed = hashlib.sha256(evidence.seal).hexdigest() if evidence.seal else ""
    # Without a seal, run.json itself is what differs between two runs of that name.
    identity = f"{run_id}\n{sealed or evidence.run_sha256}".encode("utf-8", "surrogatepass")
    p_core = verdict.metrics.get("p_core")
    return Entry(
        run={
            "identity": hashlib.sha256(identity).hexdigest(),
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
            "limits": "" if run is None else _limits(run),
            "started_utc": "" if run is None else run.started_utc,
            "ended_utc": "" if run is None else run.ended_utc,
            "command": _json([] if run is None else run.command),
            "seal_sha256": sealed,
            "release_label": release,
            "gate": gate,
            "circumstances": _json(circumstances(evidence, "" if p_core is None else p_core.method)),
        },
        cards=tuple(_device(rank, start) for rank, start in evidence.starts),
        versions=tuple(_versions(evidence, findings)),
        metrics=tuple(_metric(metric) for name, metric in verdict.shown.items() if name in ALL_METRICS),
        findings=tuple({name: getattr(one, name) for name in _FINDING} for one in findings),
    )


def _limits(run: Run) -> str:
    limits = {"steps": run.steps, "epochs": run.epochs}
    return ", ".join(f"{limit} {name}" for name, limit in limits.items() if limit is not None)


def _device(rank: int, start: Start) -> Row:
    return {
        "rank": rank,
        "host": start.host,
        "card": start.card,
        "name": start.device_name,
        "serial": start.serial or "",
        "driver": start.driver or "",
    }


def _versions(evidence: Evidence, findings: Sequence[EnvironmentFinding]) -> Iterator[Row]:
    found: dict[str, str] = {}
    for finding in findings:
        if finding.item in _VERSIONS_FOUND and finding.found:
            found.setdefault(finding.item, finding.found)
    if evidence.run is not None:
        found.update({name: getattr(evidence.run.environment, name) for name in ("os", "kernel", "python")})
    with contextlib.suppress(SuiteError):  # it is among the run's reasons
        origin = read_provenance(evidence)
        found.update({**origin.versions, **({"driver": origin.driver} if origin.driver else {})})
    found.update(operator_bits(evidence))
    return ({"name": name, "version": version} for name, version in found.items() if version)


def _metric(metric: MetricVerdict) -> Row:
    row = encode_metric(metric)
    row.pop("note", None)  # it ends the reason
    low, high = row.pop("interval") or (None, None)
    return {"metric": metric.metric, **row, "interval_low": low, "interval_high": high}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
