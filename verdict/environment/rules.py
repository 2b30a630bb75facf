"""The rule of each item of an environment: where on a host it is found, and how it is held against what is stated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

from evidence.events import HOST_BACKENDS, DataSet, RankEvidence
from evidence.host import Environment
from verdict.checks.identity import CAPACITY_TOLERANCE
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
    worst,
)

COCO_TRAIN_LISTED = 118_287
"""Images of train2017 before those without a valid box are dropped."""
BACKBONE_SHA256 = "0676ba61"
"""The first digits of the benchmark's backbone, which torchvision puts into the file's name."""

PACKAGES = ("python", "torch", "torchvision", "numpy", "pillow")
"""Items of their own, whatever table of the device they stand in."""


@dataclass(frozen=True)
class Host:
    """A host of the run: its ranks, and what its first one wrote of it."""

    name: str
    ranks: Sequence[RankEvidence]

    @property
    def facts(self) -> Environment | None:
        """What its first rank found of it; None where none wrote that."""
        return next((rank.environment for rank in self.ranks if rank.environment is not None), None)

    @property
    def data(self) -> DataSet | None:
        """The data set that its ranks found."""
        return next((data for rank in self.ranks for data in rank.data), None)

    @property
    def card_names(self) -> list[str]:
        """What the ranks called the cards that they used; shares of a machine have no name."""
        return [
            rank.start.device_name
            for rank in self.ranks
            if rank.start is not None and rank.start.backend not in HOST_BACKENDS
        ]

    @property
    def capacities_gib(self) -> list[float]:
        """The memory of the cards that its ranks used."""
        found = [rank.start.capacity_gib for rank in self.ranks if rank.start is not None]
        return [capacity for capacity in found if capacity is not None]


def why_absent(item: str, host: Host) -> str:
    """Why nothing was found of an item on a host."""
    if host.facts is None:
        return "the evidence has no event 'environment' of this host"
    keys = {"card": "cards", "card_memory": "card_memory_gib", "backbone": "backbone_sha256"}
    package = item in (*PACKAGES, "framework", "dependencies")
    why = host.facts.absent.get("packages" if package else keys.get(item, item))
    return why or ("nothing found" if item in _RULES else "no rule reads this item, and no package bears its name")


def compare(item: str, stated: str, host: Host) -> tuple[str, Answer]:
    """(what was found, answer) of one item on one host; the answer means nothing where nothing is stated."""
    return _RULES.get(item, _version_of(item.lower()))(stated, host)


_Rule = Callable[[str, Host], "tuple[str, Answer]"]


def _of_facts(read: Callable[[Environment], str], compare: Callable[[str, str], Answer]) -> _Rule:
    def rule(stated: str, host: Host) -> tuple[str, Answer]:
        found = "" if host.facts is None else read(host.facts)
        return found, compare(stated, found) if found else Answer(UNKNOWN)

    return rule


def _card(stated: str, host: Host) -> tuple[str, Answer]:
    names = sorted(set(host.card_names))
    answer = worst(compare_model(stated, name) for name in names)
    listed = [name for name in (host.facts.cards if host.facts and names else ()) if name not in names]
    if answer.verdict == UNKNOWN and listed:
        # What the tool calls the host's cards says more than the framework; that of several kinds is not this card's.
        told = [compare_model(stated, name) for name in listed]
        kinds = {one.verdict for one in told}
        answer = best(told) if len(kinds - {UNKNOWN}) == 1 else answer
    return ", ".join([*names, *listed]), answer


def _card_count(stated: str, host: Host) -> tuple[str, Answer]:
    count = host.facts.card_count if host.facts else None
    if count is None:
        return "", Answer(UNKNOWN)
    return str(count), Answer(MATCH if count >= int(stated.split()[0] if stated else 0) else DIFFERS)


def _card_memory(stated: str, host: Host) -> tuple[str, Answer]:
    sizes = [] if not host.card_names else host.capacities_gib or list(host.facts.card_memory_gib if host.facts else ())
    if not sizes:
        return "", Answer(UNKNOWN)
    wanted = float(stated.split()[0]) if stated else sizes[0]
    agree = all(abs(size - wanted) <= CAPACITY_TOLERANCE * wanted for size in sizes)
    found = " and ".join(f"{size:.1f} GiB" for size in sorted({round(size, 1) for size in sizes}))
    return found, Answer(MATCH if agree else DIFFERS)


def _network(stated: str, host: Host) -> tuple[str, Answer]:
    ports = host.facts.network if host.facts else ()
    shown = dict.fromkeys(
        ", ".join(text for text in (port.link_layer, port.rate, port.state) if text) or port.device for port in ports
    )
    return "; ".join(shown), compare_network(stated, ports) if ports else Answer(UNKNOWN)


def _os(stated: str, host: Host) -> tuple[str, Answer]:
    facts = host.facts
    name, version, pretty = ("" if facts is None else facts.os.get(key, "") for key in ("name", "version", "pretty"))
    if facts is None or not (name or pretty):
        return "", Answer(UNKNOWN)
    shown = pretty or f"{name} {version}".strip()
    if facts.os.get("of") == "image":
        why = f"the run was in a container ({facts.container}), whose system is its image's; put the host's "
        return shown, Answer(UNKNOWN, f"{why}/etc/os-release at /run/host/os-release in it")
    versions = [version, *(word for word in pretty.split() if word[:1].isdigit())]
    return shown, compare_system(stated, f"{name} {pretty}", versions)


def _packages(stated: str, host: Host) -> tuple[str, Answer]:
    return compare_packages(stated, {} if host.facts is None else host.facts.packages)


def _framework(stated: str, host: Host) -> tuple[str, Answer]:
    if stated:
        return _packages(stated, host)
    version = host.facts.packages.get("torch_xmlir") if host.facts else None
    return f"torch_xmlir {version}" if version else "", Answer(UNKNOWN)


def _train_images(stated: str, host: Host) -> tuple[str, Answer]:
    data = host.data
    if data is None:
        return "", Answer(UNKNOWN, "no rank of this host told its data set")
    listed = "" if data.train_listed is None else f" of {data.train_listed:,}"
    found = f"{data.train_images:,}{listed}"
    wanted = [int(word.replace(",", "")) for word in stated.split() if word[0].isdigit()]
    told = [data.train_listed] if stated.endswith("listed") else [data.train_images, data.train_listed]
    return found, worst(
        Answer(UNKNOWN, "how many images are listed was not told") if one is None else _is_equal(one, number)
        for one, number in zip(told, wanted)
    )


def _val_images(stated: str, host: Host) -> tuple[str, Answer]:
    data = host.data
    if data is None or data.val_images is None:
        return "", Answer(UNKNOWN, "no rank of this host told its data set")
    return f"{data.val_images:,}", _is_equal(data.val_images, int(stated.replace(",", "") or "0"))


def _is_equal(found: int, wanted: int) -> Answer:
    return Answer(MATCH if found == wanted else DIFFERS)


def _version_of(package: str) -> _Rule:
    return _of_facts(lambda facts: facts.packages.get(package, ""), compare_version)


_RULES: Mapping[str, _Rule] = {
    "machine": _of_facts(lambda facts: facts.machine_name, compare_machine),
    "card": _card,
    "card_count": _card_count,
    "card_memory": _card_memory,
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
