"""Whether two runs can be held against each other: what each was made under, and every difference that forbids it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Iterable, Iterator, Mapping, Sequence

from evidence.bundle import Evidence
from verdict.checks.workload import Workload, fingerprint
from verdict.compare.provenance import plain, read_provenance

LIKENESS: Mapping[str, float] = {"padded pixels an image": 0.02, "proposals an image": 0.2, "positives an image": 0.2}
"""By how large a share two workloads may differ: sizes follow from the images, boxes also from how training goes."""

_WHOLE_MACHINE = "the whole machine"


@dataclass(frozen=True)
class Candidate:
    """A run that is to be compared; `facts` is what circumstances() says, `invalid` why it proves nothing, or ""."""

    name: str
    facts: Mapping[str, str] = field(hash=False)
    restarts: int
    invalid: str


def circumstances(evidence: Evidence, p_core_method: str = "") -> dict[str, str]:
    """What has to be alike in two runs for a comparison to say something, as texts by name.

    `p_core_method` is the verdict's, which tells the clock: a published p_core is held against one of its own kind.
    Empty where run.json cannot be read: such a run is comparable with none.
    """
    run = evidence.run
    if run is None or not run.started_utc:
        return {}
    origin = read_provenance(evidence)
    starts = [start for _, start in evidence.starts]
    facts = {
        "device": run.cell.device,
        "topology": run.cell.topology,
        "precision": run.cell.precision,
        "batch size": str(run.cell.batch_size),
        "learning rate": repr(run.cell.learning_rate),
        "share of the machine": _share(run.cell.id),
        "protocol": origin.protocol,
        "device is": "simulated" if evidence.simulated else "real",
        "card": origin.card,
        "clock of p_core": "" if not p_core_method else "host" if "p_core_host" in p_core_method else "device",
        "timing of steps": _joined(start.timing for start in starts),
        "wait after each step for the host's clock": _joined(str(start.host_clock).lower() for start in starts),
        "data set": _data_set(evidence, run.own_data),
        **_speed_ups(evidence, run.without),
        **{f"recipe: {name}": json.dumps(value) for name, value in sorted(run.recipe.items())},
    }
    seen = fingerprint(evidence)
    return {**facts, **({} if seen is None else _counts(seen))}


def refusals(first: Candidate, second: Candidate) -> tuple[str, ...]:
    """Every reason why the two cannot be compared, in words; empty where they can."""
    return (*_unfit(first), *_unfit(second), *_differences(first, second))


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(name, text in the first, text in the second) of what is not the same in both; "" where one has none."""
    for name in dict.fromkeys((*first, *second)):
        pair = first.get(name, ""), second.get(name, "")
        if pair[0] != pair[1]:
            yield (name, *pair)


def _speed_ups(evidence: Evidence, without: Sequence[str]) -> dict[str, str]:
    """What was off although the recipe has it, and what was tuned: both change times, and neither is the device's."""
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


def _share(cell_id: str) -> str:
    from expected import split_card

    card = split_card(cell_id)[1]
    return _WHOLE_MACHINE if card is None else f"card {card}, beside runs on the others (--each-card)"


def _data_set(evidence: Evidence, own: bool) -> str:
    counts = sorted({(data.train_images, data.val_images or 0) for rank in evidence.ranks for data in rank.data})
    told = "; ".join(f"{train} images to train on, {val} to evaluate" for train, val in counts) or "not told"
    return told + (", of --data" if own else "")


def _counts(seen: Workload) -> dict[str, str]:
    found = seen.pixels_per_image, seen.proposals_per_image, seen.positives_per_image
    return dict(zip(LIKENESS, map(repr, found)))


def _joined(found: Iterable[str]) -> str:
    return ", ".join(sorted({plain(one) for one in found}))


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
        if name in LIKENESS and _near(one, other, LIKENESS[name]):
            continue
        yield f"{name}: found {one or 'nothing'} in {first.name} and {other or 'nothing'} in {second.name}"


def _near(one: str, other: str, share: float) -> bool:
    try:
        low, high = sorted((float(one), float(other)))
    except ValueError:
        return False
    return high - low <= share * high


def invalid_because(outcome: str, reasons: Sequence[str]) -> str:
    """Why a run with this outcome proves nothing; "" where it does."""
    return "; ".join(reasons) or "no reason was recorded" if outcome == "invalid" else ""
