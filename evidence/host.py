"""What a host was found to be: the event `environment` of its first rank, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping

from evidence.fields import KindError, decode, number, table, text, whole


@dataclass(frozen=True)
class Port:
    """A port of an InfiniBand or RoCE device, in sysfs's words: "InfiniBand", "200 Gb/sec (4X HDR)", "4: ACTIVE"."""

    device: str
    port: str
    link_layer: str | None
    rate: str | None
    state: str | None


@dataclass(frozen=True)
class HostFacts:
    """What a host's first rank found of the host: texts "" and lists empty where nothing was found.

    `cards` are the names that its cards were called by, `card_count` all cards of the host whoever uses them. `os_of`
    is "image" where the system is the container's own. `absent` says of what was not found, why.
    """

    machine: str
    cards: tuple[str, ...]
    card_count: int | None
    card_memory_gib: tuple[float, ...]
    ports: tuple[Port, ...]
    os_name: str
    os_version: str
    os_pretty: str
    os_of: str
    kernel: str
    driver: str
    image: str
    container: str
    packages: Mapping[str, str]
    backbone_sha256: str
    absent: Mapping[str, str]


def _texts(value: Any) -> dict[str, str]:
    return {name: text(one) for name, one in table(value).items()}


def _list_of(kind: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise KindError("a list")
        return tuple(kind(one) for one in value)

    return read


def _port(value: Any) -> Port:
    return Port(**decode(table(value), {"device": text, "port": text}, _PORT))


_PORT = dict.fromkeys(("link_layer", "rate", "state"), text)
_ENVIRONMENT: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("machine", "os", "packages", "absent"), _texts),
    **dict.fromkeys(("kernel", "driver", "image", "container", "backbone_sha256"), text),
    "cards": _list_of(text),
    "card_count": whole,
    "card_memory_gib": _list_of(number),
    "network": _list_of(_port),
}


def host_facts(record: dict[str, Any]) -> HostFacts:
    """Read the event `environment`; whatever is not in it was not found. Raises FieldError."""
    values = decode(record, {}, _ENVIRONMENT)
    machine, system = values["machine"] or {}, values["os"] or {}
    return HostFacts(
        machine=" ".join(filter(None, (machine.get("vendor"), machine.get("product")))),
        cards=values["cards"] or (),
        card_count=values["card_count"],
        card_memory_gib=values["card_memory_gib"] or (),
        ports=values["network"] or (),
        os_name=system.get("name", ""),
        os_version=system.get("version", ""),
        os_pretty=system.get("pretty", ""),
        os_of=system.get("of", ""),
        kernel=values["kernel"] or "",
        driver=values["driver"] or "",
        image=values["image"] or "",
        container=values["container"] or "",
        packages=values["packages"] or {},
        backbone_sha256=values["backbone_sha256"] or "",
        absent=values["absent"] or {},
    )
