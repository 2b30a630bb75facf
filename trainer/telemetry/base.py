"""What a sampler is, and how the cards that a management tool lists are matched to the cards that a run uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Sequence

from trainer.telemetry.metrics import Metric, checked

Samples = List[Dict[str, Any]]
"""Records for telemetry.jsonl; one with the key `error` is a complaint."""

MIB_PER_GIB = 1024.0

_PCI = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-7]))?")
_STARTED_EACH_TIME_S = 5.0


@dataclass(frozen=True)
class Sampler:
    """One source of samples: `read` returns them or raises, and is called no more often than `least_interval_s`."""

    source: str
    metrics: tuple[Metric, ...]
    read: Callable[[], Samples]
    least_interval_s: float = 0.0


@dataclass(frozen=True)
class CardPlace:
    """A card that a rank of this host uses: its index in the host, and its PCI address where the framework tells it."""

    index: int
    pci: str | None = None


@dataclass(frozen=True)
class Smi:
    """A vendor's management tool.

    `read` returns a record for each card of the host: `card` (the tool's index), `pci` and `name` where it tells them,
    and metrics; or a record with `error`. `driver` returns the driver's version. Both raise DeviceError. `is_started`
    says that the tool is a program which every reading starts anew.
    """

    name: str
    metrics: tuple[Metric, ...]
    read: Callable[[], Samples]
    driver: Callable[[], str]
    is_started: bool = True


def card_sampler(smi: Smi, places: Sequence[CardPlace]) -> Sampler:
    """Return what samples these cards of the host through a tool.

    A program is started every five seconds at most: on a host whose cores are busy it takes time from the ranks.
    """

    def read() -> Samples:
        return matched(smi, smi.read(), places)

    return Sampler(smi.name, smi.metrics, read, _STARTED_EACH_TIME_S if smi.is_started else 0.0)


def matched(smi: Smi, records: Sequence[Mapping[str, Any]], places: Sequence[CardPlace]) -> Samples:
    """Return the tool's record of each place as a sample, and a complaint for each that it has none of.

    By PCI address where both sides know it: a tool lists cards in the order of the bus, while a framework may have
    another (CUDA_DEVICE_ORDER). Else by index, which on a host of equal cards is the same order in all tools that are
    known here; nobody could try that on other vendors' cards.
    """
    told = [record for record in records if "error" not in record]
    samples: Samples = [dict(record) for record in records if "error" in record]
    by_pci = {pci: record for record in told for pci in [normal_pci(record.get("pci"))] if pci is not None}
    by_index = {record.get("card"): record for record in told}
    for place in places:
        pci = normal_pci(place.pci)
        known = pci is not None and len(by_pci) == len(told) and bool(told)
        record = by_pci.get(pci or "") if known else by_index.get(place.index)
        if record is None:
            where = f"at {pci}" if known else f"{place.index}"
            samples.append({"error": f"{smi.name} lists no card {where}; it lists {_listed(told)}"})
            continue
        kept, complaints = checked(record, smi.metrics, f"{smi.name}, card {place.index},")
        names = {metric.name for metric in smi.metrics}
        readings = {name: value for name, value in kept.items() if name in names}
        samples += [{"error": complaint} for complaint in complaints]
        if readings:
            samples.append({"source": smi.name, "card": place.index, **readings})
    return samples


def normal_pci(text: Any) -> str | None:
    """Return a PCI address as the kernel writes it, 0000:1b:00.0; None for anything else.

    NVIDIA's tools write the domain in eight digits, and some leave domain or function out.
    """
    match = _PCI.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if match is None:
        return None
    domain, bus, device, function = match.groups()
    return f"{int(domain or '0', 16):04x}:{bus}:{device}.{function or '0'}"


def _listed(records: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(record.get("pci") or record.get("card")) for record in records) or "none"
