"""What the vendor's document states of machine and software, against what was found on every host of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.events import HOST_BACKENDS, DataSet, RankEvidence
from evidence.host import Environment
from expected import Device, ExpectationError, Topology
from verdict.checks.identity import CAPACITY_TOLERANCE, COCO_TRAIN_IMAGES, COCO_VAL_IMAGES
from verdict.environment.stated import (
    DIFFERS,
    MATCH,
    UNKNOWN,
    Answer,
    best,
    compare_image,
    compare_machine,
    compare_model,
    compare_network,
    compare_packages,
    compare_system,
    compare_version,
    is_demand,
    worst,
)
from verdict.lookup import on_other_data

COCO_TRAIN_LISTED = 118_287
"""Images of train2017 before those without a valid box are dropped."""
BACKBONE_SHA256 = "0676ba61"
"""The first digits of the benchmark's backbone, which torchvision puts into the file's name."""

PACKAGES = ("python", "torch", "torchvision", "numpy", "pillow")
"""Items of their own, in whichever table of the device they are."""

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
    nothing is stated). `host` is "" if no rank has a start event. `reason` explains what is not plain.
    """

    item: str
    host: str
    stated: str
    found: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Host:
    """A host of the run: what its first rank found of it (nothing for None), its data set, and its devices.

    `card_names` and `capacities_gib` are of the devices that its ranks used; on the host's own backend they have no
    name.
    """

    name: str
    found: Environment | None
    data: DataSet | None
    device_names: tuple[str, ...]
    capacities_gib: tuple[float, ...]

    @property
    def facts(self) -> Environment:
        """What was found of the host, empty if nothing was."""
        return self.found or Environment()


def stated_items(
    device: Device, topology: Topology, *, pretrained_backbone: bool, own_data: bool = False
) -> dict[str, str]:
    """What has to be found on every host, by item in the order of ITEMS.

    A text that every machine satisfies ("any x86-64 machine") states nothing. The network is that between machines,
    and is left out for a single one. `own_data`: the run was given other data than the set of the device's table.
    """
    stated = {name: device.environment.get(table, {}).get(name, "") for table, name in _TEXTS}
    if topology.nodes < 2:
        stated["network"] = ""
    if device.cards_per_host is not None:
        stated["card_count"] = f"{topology.devices} or more"
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

    None for evidence without a topology: what would have to be found is not known.

    >>> environment_findings(read_run(run_dir), load_devices()["r300"])[0]
    EnvironmentFinding(item='machine', host='node0', stated='R480-X8', found='R480-X8', verdict='match', reason='')
    """
    run = evidence.run
    if run is None:
        return ()
    try:
        topology = Topology.parse(run.cell.topology)
    except ExpectationError:  # which makes the run invalid, whatever its hosts are
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
            found, answer = _compare(item, text, host)
            if not text:
                answer = Answer(UNSTATED)
            elif not found and answer.verdict != DIFFERS:
                answer = Answer(UNKNOWN, answer.reason or _why_absent(item, host))
            if text or found:
                findings.append(EnvironmentFinding(item, host.name, text, found, *answer))
    return tuple(findings)


def _hosts(evidence: Evidence) -> list[Host]:
    ranks: dict[str, list[RankEvidence]] = {}
    for rank in evidence.ranks:
        if rank.start is not None:
            ranks.setdefault(rank.start.host, []).append(rank)
    return [_host(name, mine) for name, mine in ranks.items()] or [_host("", [])]


def _host(name: str, ranks: Sequence[RankEvidence]) -> Host:
    starts = [rank.start for rank in ranks if rank.start is not None]
    return Host(
        name,
        next((rank.environment for rank in ranks if rank.environment is not None), None),
        next((data for rank in ranks for data in rank.data), None),
        tuple(start.device_name for start in starts if start.backend not in HOST_BACKENDS),
        tuple(start.capacity_gib for start in starts if start.capacity_gib is not None),
    )


def _why_absent(item: str, host: Host) -> str:
    """Why nothing was found of an item on a host."""
    if host.found is None:
        return "the evidence has no event 'environment' of this host"
    keys = {"card": "cards", "card_memory": "card_memory_gib", "backbone": "backbone_sha256"}
    package = item in (*PACKAGES, "framework", "dependencies")
    why = host.facts.absent.get("packages" if package else keys.get(item, item))
    return why or ("nothing found" if item in _RULES else "no rule reads this item, and no package bears its name")


def _compare(item: str, stated: str, host: Host) -> tuple[str, Answer]:
    """(what was found, answer) of one item on one host; the answer has no meaning if nothing is stated."""
    return _RULES.get(item, _version_of(item.lower()))(stated, host)


_Rule = Callable[[str, Host], "tuple[str, Answer]"]


def _of_facts(read: Callable[[Environment], str], compare: Callable[[str, str], Answer]) -> _Rule:
    def rule(stated: str, host: Host) -> tuple[str, Answer]:
        found = read(host.facts)
        return found, compare(stated, found) if found else Answer(UNKNOWN)

    return rule


def _device(stated: str, host: Host) -> tuple[str, Answer]:
    names = sorted(set(host.device_names))
    answer = worst(compare_model(stated, name) for name in names)
    listed = [name for name in host.facts.cards if names and name not in names]
    if answer.verdict == UNKNOWN and listed:
        # The vendor's tool names models more exactly than the framework, but not which of several was used.
        answers = [compare_model(stated, name) for name in listed]
        kinds = {one.verdict for one in answers}
        answer = best(answers) if len(kinds - {UNKNOWN}) == 1 else answer
    return ", ".join([*names, *listed]), answer


def _device_count(stated: str, host: Host) -> tuple[str, Answer]:
    count = host.facts.card_count
    if count is None:
        return "", Answer(UNKNOWN)
    return str(count), Answer(MATCH if count >= int(stated.split()[0] if stated else 0) else DIFFERS)


def _device_memory(stated: str, host: Host) -> tuple[str, Answer]:
    sizes = (host.capacities_gib or host.facts.card_memory_gib) if host.device_names else ()
    if not sizes:
        return "", Answer(UNKNOWN)
    wanted = float(stated.split()[0]) if stated else sizes[0]
    agree = all(abs(size - wanted) <= CAPACITY_TOLERANCE * wanted for size in sizes)
    found = " and ".join(f"{size:.1f} GiB" for size in sorted({round(size, 1) for size in sizes}))
    return found, Answer(MATCH if agree else DIFFERS)


def _network(stated: str, host: Host) -> tuple[str, Answer]:
    ports = host.facts.network
    shown = dict.fromkeys(
        ", ".join(text for text in (port.link_layer, port.rate, port.state) if text) or port.device for port in ports
    )
    return "; ".join(shown), compare_network(stated, ports) if ports else Answer(UNKNOWN)


def _os(stated: str, host: Host) -> tuple[str, Answer]:
    facts = host.facts
    name, version, pretty = (facts.os.get(key, "") for key in ("name", "version", "pretty"))
    if not (name or pretty):
        return "", Answer(UNKNOWN)
    shown = pretty or f"{name} {version}".strip()
    if facts.os.get("of") == "image":
        why = f"the run was in a container ({facts.container}), whose system is its image's; put the host's "
        return shown, Answer(UNKNOWN, f"{why}/etc/os-release at /run/host/os-release in it")
    versions = [version, *(word for word in pretty.split() if word[:1].isdigit())]
    return shown, compare_system(stated, f"{name} {pretty}", versions)


def _packages(stated: str, host: Host) -> tuple[str, Answer]:
    return compare_packages(stated, host.facts.packages)


def _framework(stated: str, host: Host) -> tuple[str, Answer]:
    if stated:
        return _packages(stated, host)
    version = host.facts.packages.get("torch_xmlir")
    return f"torch_xmlir {version}" if version else "", Answer(UNKNOWN)


def _train_images(stated: str, host: Host) -> tuple[str, Answer]:
    data = host.data
    if data is None:
        return "", Answer(UNKNOWN, "no rank of this host recorded its data set")
    listed = "" if data.train_listed is None else f" of {data.train_listed:,}"
    found = f"{data.train_images:,}{listed}"
    wanted = [int(word.replace(",", "")) for word in stated.split() if word[0].isdigit()]
    counts = [data.train_listed] if stated.endswith("listed") else [data.train_images, data.train_listed]
    return found, worst(
        Answer(UNKNOWN, "how many images are listed was not recorded") if one is None else _is_equal(one, number)
        for one, number in zip(counts, wanted)
    )


def _val_images(stated: str, host: Host) -> tuple[str, Answer]:
    data = host.data
    if data is None or data.val_images is None:
        return "", Answer(UNKNOWN, "no rank of this host recorded its data set")
    return f"{data.val_images:,}", _is_equal(data.val_images, int(stated.replace(",", "") or "0"))


def _is_equal(found: int, wanted: int) -> Answer:
    return Answer(MATCH if found == wanted else DIFFERS)


def _version_of(package: str) -> _Rule:
    return _of_facts(lambda facts: facts.packages.get(package, ""), compare_version)


_RULES: Mapping[str, _Rule] = {
    "machine": _of_facts(lambda facts: facts.machine_name, compare_machine),
    "card": _device,
    "card_count": _device_count,
    "card_memory": _device_memory,
    "network": _network,
    "os": _os,
    "kernel": _of_facts(lambda facts: facts.kernel, compare_version),
    "driver": _of_facts(lambda facts: facts.driver, compare_version),
    "image": _of_facts(lambda facts: facts.image, compare_image),
    "framework": _framework,
    "dependencies": _packages,
    **{package: _version_of(package) for package in PACKAGES},
    "train_images": _train_images,
    "val_images": _val_images,
    "backbone": _of_facts(
        lambda facts: facts.backbone_sha256,
        lambda _, found: Answer(MATCH if found.startswith(BACKBONE_SHA256) else DIFFERS),
    ),
}
