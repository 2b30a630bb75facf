"""What the vendor's document states of machine and software, against what was found on every host of a run."""

from __future__ import annotations

from dataclasses import dataclass

from evidence.bundle import Evidence
from evidence.events import RankEvidence
from expected import Device, ExpectationError, Topology
from verdict.checks.identity import COCO_TRAIN_IMAGES, COCO_VAL_IMAGES
from verdict.environment.rules import BACKBONE_SHA256, COCO_TRAIN_LISTED, PACKAGES, Host, compare, why_absent
from verdict.environment.stated import DIFFERS, UNKNOWN, Answer, is_demand
from verdict.lookup import on_other_data

UNSTATED = "unstated"

_TEXTS = (
    ("hardware", "machine"),
    ("hardware", "card"),
    ("hardware", "network"),
    *(("software", name) for name in ("os", "kernel", "driver", "image", "framework", "dependencies")),
)
ITEMS = (
    *("machine", "card", "card_count", "card_memory", "network"),
    *("os", "kernel", "driver", "image", "framework", "dependencies"),
    *PACKAGES,
    *("train_images", "val_images", "backbone"),
)
"""In the order of the document, and then of the benchmark's recipe. What else a table states comes last."""


@dataclass(frozen=True)
class EnvironmentFinding:
    """One item on one host: what is stated, what was found ("" is nothing), and what that comes to.

    `verdict` is "match", "differs", "unknown" (stated, and not found or not to be decided) or "unstated" (found, and
    nothing is stated). `host` is "" where no host introduced itself. `reason` explains what is not plain.
    """

    item: str
    host: str
    stated: str
    found: str
    verdict: str
    reason: str


def stated_items(
    device: Device, topology: Topology, *, pretrained_backbone: bool, own_data: bool = False
) -> dict[str, str]:
    """What has to be found on every host, by item in the order of ITEMS.

    A text that no machine could differ from states nothing ("any x86-64 machine"). The network is that between
    machines, and is asked about only where there are several. `own_data`: the run was given other data than the set
    that belongs to the device's table.
    """
    stated = {name: device.environment.get(table, {}).get(name, "") for table, name in _TEXTS}
    if topology.nodes < 2:
        stated["network"] = ""
    if device.cards_per_host is not None:
        stated["card_count"] = f"{topology.cards} or more"
    if device.card_memory_gib is not None:
        stated["card_memory"] = f"{device.card_memory_gib:g} GiB"
    software, packages = device.environment.get("software", {}), device.environment.get("packages", {})
    stated.update({name: packages.get(name) or software.get(name, "") for name in PACKAGES})
    if device.shapes is None:
        stated["train_images"] = f"{COCO_TRAIN_IMAGES:,} of {COCO_TRAIN_LISTED:,}"
        stated["val_images"] = f"{COCO_VAL_IMAGES:,}"
    elif not own_data:
        # Some of the images are generated without a box; how many, its seed decides.
        stated["train_images"] = f"{device.shapes['train_images']:,} listed"
        stated["val_images"] = f"{device.shapes['val_images']:,}"
    if pretrained_backbone:
        stated["backbone"] = f"SHA-256 {BACKBONE_SHA256}..."
    others = {
        name: text
        for table in device.environment.values()
        for name, text in table.items()
        if name not in stated and name not in ITEMS
    }
    return {
        name: text
        for name, text in [*((item, stated.get(item, "")) for item in ITEMS), *others.items()]
        if is_demand(text)
    }


def environment_findings(evidence: Evidence, device: Device) -> tuple[EnvironmentFinding, ...]:
    """Every item that is stated or was found, host by host; items in the order of `stated_items`.

    Nothing of evidence that does not say at which topology it was made: what would have to be found is not known.
    """
    run = evidence.run
    topology = None if run is None else _topology(run.cell.topology)
    if run is None or topology is None:
        return ()
    stated = stated_items(
        device,
        topology,
        pretrained_backbone=run.recipe.get("pretrained_backbone") is not False,
        own_data=on_other_data(evidence, device),
    )
    hosts = _hosts(evidence)
    findings = []
    for item in [*ITEMS, *(name for name in stated if name not in ITEMS)]:
        for host in hosts:
            text = stated.get(item, "")
            found, answer = compare(item, text, host)
            if not text:
                answer = Answer(UNSTATED)
            elif not found and answer.verdict != DIFFERS:
                answer = Answer(UNKNOWN, answer.reason or why_absent(item, host))
            if text or found:
                findings.append(EnvironmentFinding(item, host.name, text, found, *answer))
    return tuple(findings)


def _topology(text: str) -> Topology | None:
    try:
        return Topology.parse(text)
    except ExpectationError:
        return None  # which makes the run invalid, whatever its hosts are


def _hosts(evidence: Evidence) -> list[Host]:
    ranks: dict[str, list[RankEvidence]] = {}
    for rank in evidence.ranks:
        if rank.start is not None:
            ranks.setdefault(rank.start.host, []).append(rank)
    return [Host(name, mine) for name, mine in ranks.items()] or [Host("", ())]
