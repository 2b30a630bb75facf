"""Where a run comes from: when, in which protocol, on which card, with which driver and versions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

from evidence.bundle import Evidence
from evidence.errors import EvidenceError
from evidence.run_file import Run

_NO_PART_IN_THE_RUN = ("pytest", "pytest-xdist", "pytest-benchmark")
"""Packages that run.json lists because they started the run; they change nothing that is measured."""


@dataclass(frozen=True)
class Provenance:
    """`started_utc` is an ISO time; `driver` is "" where no rank names one; `versions` are texts by name."""

    run: str
    started_utc: str
    protocol: str
    simulated: bool
    card: str
    driver: str
    versions: Mapping[str, str] = field(hash=False)

    @property
    def state(self) -> dict[str, str]:
        """What has to be equal for two runs to have been made under the same circumstances."""
        return {
            "protocol": self.protocol,
            "simulated": str(self.simulated).lower(),
            "card": self.card,
            "driver": self.driver,
            **self.versions,
        }


def read_provenance(evidence: Evidence) -> Provenance:
    """Where the run comes from, out of run.json and the ranks' introductions.

    What differs among the ranks is told once for each value, as in "4.0.25, 4.1.0". Raises EvidenceError where
    run.json cannot be read or does not say when the run was started.
    """
    if evidence.run is None:
        raise EvidenceError(f"{evidence.path}: cannot tell where the run comes from: {'; '.join(evidence.problems)}")
    if not evidence.run.started_utc:
        raise EvidenceError(f"{evidence.path}: 'started_utc' is missing: a baseline has to say where it comes from")
    packages = evidence.run.environment.packages
    told = [{"driver": start.driver, **start.versions} for _, start in evidence.starts]
    by_name = {name: _joined(one.get(name) for one in told) for facts_of_rank in told for name in facts_of_rank}
    driver = by_name.pop("driver", "")
    # The ranks know best what they ran with; the launching Python's packages fill in what they do not say.
    listed = {name: _joined([found]) for name, found in packages.items() if name not in _NO_PART_IN_THE_RUN}
    versions = {_key(name): version for name, version in {**listed, **by_name}.items() if version}
    card = _joined(start.device_name for _, start in evidence.starts)
    run = evidence.run
    return Provenance(plain(run.id), plain(run.started_utc), _protocol(run), evidence.simulated, card, driver, versions)


def plain(words: str) -> str:
    """`words` as a file can hold them on one line: what cannot be printed becomes a space; never empty."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in words).split()) or "unknown"


def _joined(found: Iterable[Any]) -> str:
    return ", ".join(sorted({plain(one) for one in found if isinstance(one, str)}))


def _key(name: str) -> str:
    return re.sub("[^a-z0-9_]", "_", name.lower())


def _protocol(run: Run) -> str:
    """The protocol with the limit that makes two runs of it different things."""
    limits = {"full": f" of at most {run.epochs} epochs", "steady": f" of {run.steps} steps"}
    return plain(run.protocol + limits.get(run.protocol, ""))
