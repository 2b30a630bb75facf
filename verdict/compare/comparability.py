"""Whether two runs are comparable: the provenance and circumstances of each, and every difference that forbids it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.errors import EvidenceError
from expected import split_place
from verdict.checks.data import annotation_digests
from verdict.checks.identity import complete
from verdict.checks.workload import fingerprint

TOLERANCES: Mapping[str, float] = {
    "padded pixels an image": 0.02,
    "proposals an image": 0.2,
    "positives an image": 0.2,
}
"""The share by which two workloads may differ: sizes follow from the images, boxes also from how training goes."""

_ANNOTATIONS = "SHA-256 of the annotations of "
_NO_PART_IN_THE_RUN = ("pytest", "pytest-xdist", "pytest-benchmark")
"""Packages in run.json that started the run; they change nothing that is measured."""
_BITS = "bits of "
_NAMED = 5  # operators, of those with other bits


@dataclass(frozen=True)
class Provenance:
    """`started_utc` is an ISO time; `driver` is "" where no rank names one; `versions` are texts by name.

    `annotations` are the SHA-256 of the annotation files by split; {} for runs that did not record it.
    """

    run: str
    started_utc: str
    protocol: str
    simulated: bool
    card: str
    driver: str
    versions: Mapping[str, str] = field(hash=False)
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def state(self) -> dict[str, str]:
        """What has to be equal for two runs to have been made under the same circumstances."""
        return {
            "protocol": self.protocol,
            "simulated": str(self.simulated).lower(),
            "card": self.card,
            "driver": self.driver,
            **self.versions,
            **{f"{_ANNOTATIONS}{split}": digest for split, digest in self.annotations.items()},
        }


def read_provenance(evidence: Evidence) -> Provenance:
    """Where the run comes from, out of run.json and the ranks' start events.

    Values that differ between ranks are all named, as in "4.0.25, 4.1.0". Raises EvidenceError if run.json cannot be
    read or has no start time.
    """
    run = evidence.run
    if run is None:
        raise EvidenceError(f"{evidence.path}: cannot tell where the run comes from: {'; '.join(evidence.problems)}")
    if not run.started_utc:
        raise EvidenceError(f"{evidence.path}: 'started_utc' is missing: a baseline has to say where it comes from")
    of_ranks = [{"driver": start.driver, **start.versions} for _, start in evidence.starts]
    names = dict.fromkeys(name for one in of_ranks for name in one)
    by_name = {name: _joined(one.get(name) for one in of_ranks) for name in names}
    driver = by_name.pop("driver", "")
    # What the ranks ran with; the launching Python's packages fill in what they do not name.
    listed = {
        name: _joined([found]) for name, found in run.environment.packages.items() if name not in _NO_PART_IN_THE_RUN
    }
    versions = {
        re.sub("[^a-z0-9_]", "_", name.lower()): version for name, version in {**listed, **by_name}.items() if version
    }
    # A protocol with another limit is another protocol.
    limits = {"full": f" of at most {run.epochs} epochs", "steady": f" of {run.steps} steps"}
    return Provenance(
        run=plain(run.id),
        started_utc=plain(run.started_utc),
        protocol=plain(run.protocol + limits.get(run.protocol, "")),
        simulated=evidence.simulated,
        card=_joined(start.device_name for _, start in evidence.starts),
        driver=driver,
        versions=versions,
        annotations=annotation_digests(evidence),
    )


def plain(words: str) -> str:
    """`words` on one line, each unprintable character a space; "unknown" if nothing is left."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in words).split()) or "unknown"


@dataclass(frozen=True)
class Candidate:
    """A run that is to be compared; `facts` are its circumstances(), `invalid` why it proves nothing, or ""."""

    name: str
    facts: Mapping[str, str] = field(hash=False)
    restarts: int
    invalid: str


def circumstances(evidence: Evidence, p_core_method: str = "") -> dict[str, str]:
    """What has to be the same in two runs for a comparison to be valid, as texts by name.

    `p_core_method` is the verdict's, which names the clock: a published p_core is compared with one of its own kind.
    Empty if run.json cannot be read: such a run is comparable with none.
    """
    run = evidence.run
    if run is None or not run.started_utc:
        return {}
    origin = read_provenance(evidence)
    starts, place = [start for _, start in evidence.starts], split_place(run.cell.id)[1]
    counts = sorted({(data.train_images, data.val_images or 0) for rank in evidence.ranks for data in rank.data})
    data = "; ".join(f"{train} images to train on, {val} to evaluate" for train, val in counts) or "not recorded"
    seen = fingerprint(evidence)
    workload = (seen.pixels_per_image, seen.proposals_per_image, seen.positives_per_image) if seen else ()
    return {
        "device": run.cell.device,
        "topology": run.cell.topology,
        "precision": run.cell.precision,
        "batch size": str(run.cell.batch_size),
        "learning rate": repr(run.cell.learning_rate),
        "share of the machine": (
            f"device {place['card']}, beside runs on the others (--each-card)"
            if "card" in place
            else "the whole machine"
        ),
        "protocol": origin.protocol,
        "device is": "simulated" if evidence.simulated else "real",
        "card": origin.card,
        "clock of p_core": "" if not p_core_method else "host" if "p_core_host" in p_core_method else "device",
        "timing of steps": _joined(start.timing for start in starts),
        "wait after each step for the host's clock": _joined(str(start.host_clock).lower() for start in starts),
        "data set": data + (", of --data" if run.own_data else ""),
        **{f"{_ANNOTATIONS}{split}": digest for split, digest in annotation_digests(evidence).items()},
        **_speed_ups(evidence, run.without),
        **({"ended early": "by --fail-fast"} if evidence.stopped else {}),
        **{f"recipe: {name}": json.dumps(value) for name, value in sorted(complete(run.recipe).items())},
        **dict(zip(TOLERANCES, map(repr, workload))),
    }


def refusals(first: Candidate, second: Candidate) -> tuple[str, ...]:
    """Every reason why the two cannot be compared, in words; empty if they can."""
    return (*_unfit(first), *_unfit(second), *_differences(first, second))


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(name, text in the first, text in the second) of every difference; "" if one of them lacks the name.

    What operators compute is one difference, however many have other bits.
    """
    for name in dict.fromkeys((*first, *second)):
        pair = first.get(name, ""), second.get(name, "")
        if pair[0] != pair[1] and not name.startswith(_BITS):
            yield (name, *pair)
    both = [name for name in first if name.startswith(_BITS) and name in second]
    others = [name for name in both if first[name] != second[name]]
    if others:
        words = [name[len(_BITS) :] for name in others[:_NAMED]]
        more = [f"{len(others) - _NAMED} more"] if len(others) > _NAMED else []
        name = f"{_BITS}{len(others)} of {len(both)} operators ({', '.join([*words, *more])})"
        yield (name, _digest(first[one] for one in others), _digest(second[one] for one in others))


def operator_bits(evidence: Evidence) -> dict[str, str]:
    """Return a digest of what the first rank's device computes, by "bits of " and the operator, pass and dtype.

    Without those whose bits may differ from run to run; {} if operators were not asked.
    """
    answers: dict[str, list[str]] = {}
    for rank in evidence.ranks[:1]:
        for one in rank.operators:
            answers.setdefault(one.question, []).append("" if one.may_vary else one.digest)
    return {
        f"{_BITS}{question.replace('-', ' ')}": _digest(digests)
        for question, digests in answers.items()
        if all(digests)
    }


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def invalid_because(outcome: str, reasons: Sequence[str]) -> str:
    """Why a run with this outcome proves nothing; "" if it is not invalid."""
    return "; ".join(reasons) or "no reason was recorded" if outcome == "invalid" else ""


def _joined(found: Iterable[Any]) -> str:
    return ", ".join(sorted({plain(one) for one in found if isinstance(one, str)}))


def _speed_ups(evidence: Evidence, without: Sequence[str]) -> dict[str, str]:
    """Optimizations that were off although the recipe has them, and DDP's bucket size: both change times."""
    found = {}
    if without:
        found["optimizations switched off"] = _joined(without)
    off = [one.name for rank in evidence.ranks for one in rank.optimizations if one.why and not one.on]
    lacking = sorted(set(off) - set(without))
    if lacking:
        found["optimizations that could not be had"] = _joined(lacking)
    sizes = {start.bucket_mb for _, start in evidence.starts} - {None}
    if sizes:
        found["gradients exchanged at once"] = _joined(f"{size} MiB" for size in sizes)
    return found


def _unfit(run: Candidate) -> Iterator[str]:
    if not run.facts:
        yield f"{run.name}: found nothing of how it was made, expected a run.json that can be read"
    if run.invalid:
        yield f"{run.name}: is invalid and proves nothing: {run.invalid}"
    if run.restarts:
        yield f"{run.name}: was restarted, expected an unbroken run: its numbers are of its last part only"


def _differences(first: Candidate, second: Candidate) -> Iterator[str]:
    if not (first.facts and second.facts):
        return
    for name, one, other in differing(first.facts, second.facts):
        if name.startswith(_ANNOTATIONS) and not (one and other):
            continue  # schema 2 did not record it
        if name in TOLERANCES and _near(one, other, TOLERANCES[name]):
            continue
        yield f"{name}: found {one or 'nothing'} in {first.name} and {other or 'nothing'} in {second.name}"


def _near(one: str, other: str, share: float) -> bool:
    try:
        low, high = sorted((float(one), float(other)))
    except ValueError:
        return False
    return high - low <= share * high
