"""Health of the devices of a run: what each had counted before training against what it has counted after it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Iterator, Sequence

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.events.setup import HOST_BACKENDS, Start
from evidence.events.state import AFTER, BEFORE, Health
from evidence.verdict import MetricVerdict, Verdict
from verdict.metrics.activity import throttled
from verdict.wording import counted

HEALTH = "health"

_COUNTERS = {
    "ecc_uncorrected": "uncorrected ECC error",
    "retired_pages": "retired page",
    "remapped_rows": "remapped row",
}
"""Whose growth fails, with the word for one."""
_LINKS = {"pcie_width": "PCIe width", "pcie_generation": "PCIe speed"}
_READ = {
    "ecc_uncorrected": "ECC errors",
    "retired_pages": "retired pages",
    "remapped_rows": "retired pages",
    **_LINKS,
    "kernel_log": "kernel log",
}
_UNCORRECTED_LINK_ERRORS = ("pcie fatal", "pcie nonfatal")
_FAULT = re.compile(r"\bXid\b|uncorrect|\bfatal|fallen off the bus|GPU is lost", re.IGNORECASE)
"""Of a line of the kernel's log. Xid: NVIDIA's "Xid Errors"; severity=Uncorrected: the kernel's AER driver."""
_QUOTED = 2


@dataclass
class _Findings:
    """Of all devices: what fails, what cannot be believed, what was not read of a device at all, and remarks."""

    faults: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    unread: dict[str, None] = field(default_factory=dict)
    devices: int = 0


def judge_health(runs: Sequence[Evidence], *, broken: str = "") -> MetricVerdict:
    """The verdict on the devices of a cell's boots; its value is the number of faults.

    Fail: new uncorrected ECC errors or retired pages, a fault of the device in the kernel's log, a PCIe link that is
    narrower than device and slot allow, or slower in both readings. That was read from the devices themselves, so it
    holds of a run too that is `broken`, the reason why its evidence cannot be trusted. Inconclusive: what was read
    before training and not after it, or went back. Recorded: nothing was read of a device.
    """
    found = _Findings()
    for number, evidence in enumerate(runs, start=1):
        boot = f"run {number} of {len(runs)}: " if len(runs) > 1 else ""
        for rank in evidence.ranks:
            if rank.start is not None and rank.start.backend not in HOST_BACKENDS:
                _judge_device(found, rank, boot + _name(rank.start, rank.health))
        found.remarks += [f"{boot}{one}" for one in throttled(evidence)]
    if found.faults:
        verdict, reason = Verdict.FAIL, "; ".join(found.faults)
    elif broken:
        verdict, reason = Verdict.INVALID, broken
    elif found.doubts and any(evidence.stopped for evidence in runs):
        verdict, reason = Verdict.MISSING, "--fail-fast ended the run before the devices were read again"
    elif found.doubts:
        verdict, reason = Verdict.INCONCLUSIVE, "; ".join(found.doubts)
    elif found.silent or not found.devices:
        verdict, reason = Verdict.RECORDED, f"health not read: {'; '.join(found.silent) or 'the run has no device'}"
    else:
        count = counted(found.devices, "device")
        unread = f"not read: {', '.join(found.unread)}" if found.unread else ""
        verdict, reason = Verdict.PASS, "; ".join(filter(None, [f"no fault of {count}", *found.remarks, unread]))
    value = float(len(found.faults)) if verdict in (Verdict.FAIL, Verdict.PASS) else None
    method = "faults by counters, PCIe links and the kernel's log, after training against before it"
    return MetricVerdict(HEALTH, value, "faults", None, None, None, 0.0, "lower", method, "", verdict, reason)


def _name(start: Start, health: Sequence[Health]) -> str:
    pci = next((one.pci for one in health if one.pci), None)
    known = ", ".join(filter(None, [start.serial, pci]))
    return f"device {start.card}{f' ({known})' if known else ''} of {start.host}"


def _judge_device(found: _Findings, rank: RankEvidence, name: str) -> None:
    found.devices += 1
    before = next((one for one in rank.health if one.when == BEFORE), None)
    after = next((one for one in reversed(rank.health) if one.when == AFTER), None)
    known = [one for one in (before, after) if one is not None]
    if not any(_has(one, reading) for one in known for reading in _READ):
        why = "; ".join(dict.fromkeys(text for one in known for text in one.absent.values()))
        found.silent.append(f"{name}: {why or 'the run has no such readings'}")
        return
    found.faults += [f"{name}: {text}" for text in _link_faults(known)]
    if before is None or after is None:
        which = "after it" if after is None else "before it"
        found.doubts.append(f"{name}: found no reading {which}, expected one before training and one after it")
        return
    found.faults += [f"{name}: {text}" for text in _growth(before, after)]
    found.faults += [f"{name}: {text}" for text in _log_faults(after)]
    found.doubts += [f"{name}: {text}" for text in _doubts(before, after)]
    found.remarks += [f"{name}: {text}" for text in _remarks(before, after)]
    read = {what for reading, what in _READ.items() if _has(after, reading)}
    found.unread.update(dict.fromkeys(what for what in _READ.values() if what not in read))


def _has(health: Health, name: str) -> bool:
    return getattr(health, name) is not None


def _growth(before: Health, after: Health) -> Iterator[str]:
    """What was counted in the run and must not be."""
    for name, word in _COUNTERS.items():
        first, last = getattr(before, name), getattr(after, name)
        if first is not None and last is not None and last > first:
            yield f"{counted(last - first, f'new {word}')} in the run, expected none"
    if after.retirement_pending and not before.retirement_pending:
        yield "a page or row is to be retired since the run, expected none"
    for name in _UNCORRECTED_LINK_ERRORS:
        new = after.link_errors.get(name, 0) - before.link_errors.get(name, after.link_errors.get(name, 0))
        if new > 0:
            yield f"{name} errors: {new} new ones in the run, expected none"


def _link_faults(known: Sequence[Health]) -> Iterator[str]:
    """What the link lacks: width in any reading, speed if no reading has it, as a link may slow down at rest."""
    narrow = [one for one in known if one.pcie_width and one.pcie_width_max and one.pcie_width < one.pcie_width_max]
    if narrow:
        when = " and ".join(f"x{one.pcie_width} {one.when} training" for one in narrow)
        yield f"PCIe {when}, expected the x{narrow[-1].pcie_width_max} that device and slot have"
    speeds = [one.pcie_generation for one in known if one.pcie_generation]
    most = max((one.pcie_generation_max or 0 for one in known), default=0)
    if speeds and max(speeds) < most:
        when = " and ".join(one.when for one in known if one.pcie_generation)
        yield f"PCIe generation {max(speeds)} {when} training, expected the {most} that device and slot have"


def _log_faults(after: Health) -> Iterator[str]:
    lines = [line for line in after.kernel_log or () if _FAULT.search(line)]
    if lines:
        shown = " / ".join(lines[:_QUOTED])
        more = f" and {len(lines) - _QUOTED} more" if len(lines) > _QUOTED else ""
        yield f"kernel log of the run: {shown}{more}, expected no such line"


def _doubts(before: Health, after: Health) -> Iterator[str]:
    for name in ("ecc_corrected", *_READ):
        first, last = getattr(before, name), getattr(after, name)
        word = _READ.get(name, "ECC errors")
        if first is not None and last is None:
            why = after.absent.get("tool", "") or after.absent.get(name, "")
            yield f"{word}: read before training and not after it; look for the device{f' ({why})' if why else ''}"
        elif name not in _LINKS and type(first) is int and last is not None and last < first:
            yield f"{word}: {first} before training and {last} after it: the device was reset meanwhile"


def _remarks(before: Health, after: Health) -> Iterator[str]:
    """What decides nothing."""
    counts = {"corrected ECC": (before.ecc_corrected, after.ecc_corrected)}
    counts.update({name: (before.link_errors.get(name), last) for name, last in after.link_errors.items()})
    for name, (first, last) in counts.items():
        if first is not None and last is not None and last > first and name not in _UNCORRECTED_LINK_ERRORS:
            yield f"{last - first} new {name} errors"
    if before.ecc_uncorrected:
        yield f"{before.ecc_uncorrected} uncorrected ECC errors before the run"
