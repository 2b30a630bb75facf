"""What the vendor's document states of machine and software, against what was found on every host of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.events.host import Environment
from evidence.events.rank import RankEvidence
from evidence.events.setup import HOST_BACKENDS, DataSet
from expected import Device, ExpectationError, Topology
from verdict.checks.identity import CAPACITY_TOLERANCE
from verdict.environment.claims import NO_CLAIMS, Claims, compare_stated
from verdict.environment.items import BACKBONE_SHA256, ITEMS, PACKAGES, stated_items
from verdict.environment.packages import compare_packages
from verdict.environment.stated import (
    DIFFERS,
    MATCH,
    UNKNOWN,
    Answer,
    best,
    compare_image,
    compare_kernel,
    compare_machine,
    compare_model,
    compare_network,
    compare_system,
    compare_version,
    worst,
)
from verdict.lookup import on_other_data

UNSTATED = "unstated"


@dataclass(frozen=True)
class EnvironmentFinding:
    """One item on one host: what is stated, what was found ("" is nothing), and what that comes to.

    `verdict` is "match", "differs", "unknown" (stated, and not found or not to be decided) or "unstated" (found, and
    nothing is stated). `host` is "" if no rank has a start event. `reason` explains what is not plain. `under_test` is
    the value of `--under-test` that the item was held against, and `declared` that of `--state` which decided.
    """

    item: str
    host: str
    stated: str
    found: str
    verdict: str
    reason: str
    under_test: str = ""
    declared: str = ""


@dataclass(frozen=True)
class Host:
    """A host of the run: what its first rank found of it (nothing for None), its data set, and its devices.

    `device_names` and `capacities_gib` are of the devices that its ranks used; on the host's own backend they have no
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


def environment_findings(
    evidence: Evidence, device: Device, claims: Claims = NO_CLAIMS
) -> tuple[EnvironmentFinding, ...]:
    """Every item that is stated, under test or was found, host by host; items in the order of `stated_items`.

    `claims` are the caller's, over those that the run was made with. None for evidence without a topology: what would
    have to be found is not known.

    >>> from evidence.bundle import read_run
    >>> from expected import load_devices
    >>> environment_findings(read_run("tests/stored/cpu-steady"), load_devices()["cpu"])[0].found
    'Debian GNU/Linux 12 (bookworm)'
    """
    run = evidence.run
    if run is None:
        return ()
    try:
        topology = Topology.parse(run.cell.topology)
    except ExpectationError:  # which makes the run invalid, whatever its hosts are
        return ()
    claims = claims.over(Claims.of(run))
    document = stated_items(
        device,
        topology,
        pretrained_backbone=run.recipe.get("pretrained_backbone") is not False,
        own_data=on_other_data(evidence, device),
        smoke=run.protocol == "smoke",
    )
    asked = claims.asked(document)
    hosts = _hosts(evidence)
    return tuple(
        finding
        for item in [*ITEMS, *(name for name in asked if name not in ITEMS)]
        for host in hosts
        for finding in [_finding(item, host, document.get(item, ""), asked.get(item, ""), claims)]
        if finding.stated or finding.found
    )


def _finding(item: str, host: Host, document: str, wanted: str, claims: Claims) -> EnvironmentFinding:
    """Compare one item on one host with what is wanted of it: what the document states, or what is under test."""
    under_test = wanted if wanted != document else claims.under_test.get(item, "")
    found, answer = _compare(item, wanted, host, exact=bool(under_test))
    declared = ""
    if not wanted:
        answer = Answer(UNSTATED)
    elif answer.verdict == UNKNOWN or not found:
        why = "" if host.found is None else answer.reason
        answer = answer if found or answer.verdict == DIFFERS else Answer(UNKNOWN, why or _why_absent(item, host))
        said = claims.stated.get(item, "")
        if said and answer.verdict == UNKNOWN:
            against = _compare(item, said, host)[1] if found else Answer(UNKNOWN)
            answer = compare_stated(item, wanted, said, against)
            found, declared = f"{said}, as stated" + (f"; read: {found}" if found else ""), said
    reasons = [answer.reason]
    if under_test:
        reasons.append(f"under test; the document states {document or 'nothing of it'}")
    reason = "; ".join(filter(None, reasons))
    return EnvironmentFinding(item, host.name, wanted, found, answer.verdict, reason, under_test, declared)


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
    absent = host.facts.absent
    why = absent.get(item) or absent.get("packages" if package else keys.get(item, item))
    return why or ("nothing found" if item in _RULES else "no rule reads this item, and no package bears its name")


def _compare(item: str, stated: str, host: Host, *, exact: bool = False) -> tuple[str, Answer]:
    """(what was found, answer) of one item on one host; the answer has no meaning if nothing is stated.

    With `exact`, as for what is under test, a version has to be the stated one and not only begin with it.
    """
    return _RULES.get(item, _version_of(item.lower()))(stated, host, exact)


_Rule = Callable[[str, Host, bool], "tuple[str, Answer]"]


def _of_facts(read: Callable[[Environment], str], compare: Callable[..., Answer], *, versions: bool = False) -> _Rule:
    def rule(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
        found = read(host.facts)
        how = {"exact": exact} if versions else {}
        return found, compare(stated, found, **how) if found else Answer(UNKNOWN)

    return rule


def _device(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
    names = sorted(set(host.device_names))
    answer = worst(compare_model(stated, name) for name in names)
    listed = [name for name in host.facts.cards if names and name not in names]
    if answer.verdict == UNKNOWN and listed:
        # The vendor's tool names models more exactly than the framework, but not which of several was used.
        answers = [compare_model(stated, name) for name in listed]
        kinds = {one.verdict for one in answers}
        answer = best(answers) if len(kinds - {UNKNOWN}) == 1 else answer
    return ", ".join([*names, *listed]), answer


def _device_count(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
    count = host.facts.card_count
    if count is None:
        return "", Answer(UNKNOWN)
    return str(count), Answer(MATCH if count >= int(stated.split()[0] if stated else 0) else DIFFERS)


def _device_memory(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
    sizes = (host.capacities_gib or host.facts.card_memory_gib) if host.device_names else ()
    if not sizes:
        return "", Answer(UNKNOWN)
    wanted = float(stated.split()[0]) if stated else sizes[0]
    agree = all(abs(size - wanted) <= CAPACITY_TOLERANCE * wanted for size in sizes)
    found = " and ".join(f"{size:.1f} GiB" for size in sorted({round(size, 1) for size in sizes}))
    return found, Answer(MATCH if agree else DIFFERS)


def _network(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
    ports = host.facts.network
    shown = dict.fromkeys(
        ", ".join(text for text in (port.link_layer, port.rate, port.state) if text) or port.device for port in ports
    )
    return "; ".join(shown), compare_network(stated, ports) if ports else Answer(UNKNOWN)


def _os(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
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


def _packages(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
    return compare_packages(stated, host.facts.packages, exact=exact)


def _framework(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
    if stated:
        return _packages(stated, host, exact)
    versions = {name: host.facts.packages.get(name) for name in ("xmlir", "torch_xmlir")}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version), Answer(UNKNOWN)


def _kernel(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
    release, architecture = host.facts.kernel, host.facts.architecture
    if not release:
        return "", Answer(UNKNOWN)
    found = " ".join(filter(None, (release, architecture)))
    return found, compare_kernel(stated, release, architecture, exact=exact)


def _train_images(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
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


def _val_images(stated: str, host: Host, exact: bool) -> tuple[str, Answer]:
    data = host.data
    if data is None or data.val_images is None:
        return "", Answer(UNKNOWN, "no rank of this host recorded its data set")
    return f"{data.val_images:,}", _is_equal(data.val_images, int(stated.replace(",", "") or "0"))


def _is_equal(found: int, wanted: int) -> Answer:
    return Answer(MATCH if found == wanted else DIFFERS)


def _version_of(package: str) -> _Rule:
    return _of_facts(lambda facts: facts.packages.get(package, ""), compare_version, versions=True)


_RULES: Mapping[str, _Rule] = {
    "machine": _of_facts(lambda facts: facts.machine_name, compare_machine),
    "card": _device,
    "card_count": _device_count,
    "card_memory": _device_memory,
    "network": _network,
    "os": _os,
    "kernel": _kernel,
    "driver": _of_facts(lambda facts: facts.driver, compare_version, versions=True),
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
