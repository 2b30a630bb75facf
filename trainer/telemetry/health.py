"""Health of a rank's device before and after training: by the vendor's tool, sysfs, and the kernel's log.

sysfs and the kernel's log are read for any device whose PCI address is known, by the framework or by the tool. Sources:
Documentation/ABI/testing/sysfs-bus-pci (current_link_speed, max_link_width, ...) and sysfs-bus-pci-devices-aer_stats,
Documentation/ABI/testing/dev-kmsg, PCI Express Base Specification (GT/s of the generations).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Mapping

from evidence.events.state import Health
from evidence.rank_file import EventLog
from evidence.text import visible
from trainer.telemetry.base import DevicePlace, Smi, normal_pci, record_of, run_tool, within

ROOT = Path("/")
_PATIENCE_S = 25.0
_DMESG_S = 5.0
_RECORD_BYTES = 8192  # of /dev/kmsg, at least: a record that does not fit cannot be read
_MOST_ALIKE, _MOST_LINES, _LONGEST_LINE = 3, 200, 300
_KIND = re.compile(r"[0-9]+")
_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}  # by GT/s
_WIDEST = 32  # sysfs has 255 for a width that is unknown
_AER = {"aer_dev_fatal": "pcie fatal", "aer_dev_nonfatal": "pcie nonfatal", "aer_dev_correctable": "pcie correctable"}
_AER_TOTAL = re.compile(r"^TOTAL_ERR_\w+\s+([0-9]{1,18})\s*$", re.MULTILINE)
_KMSG = re.compile(r"[0-9]+,[0-9]+,([0-9]+),[^;]*;(.*)")
_NUMBERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("ecc_corrected", "ecc_uncorrected", "retired_pages", "remapped_rows"), int),
    **dict.fromkeys(("pcie_width", "pcie_width_max", "pcie_generation", "pcie_generation_max"), int),
    "retirement_pending": bool,
}


def health_of(smi: Smi, place: DevicePlace) -> dict[str, Any]:
    """Return the tool's record of the health of a place, with `source`; {} if the tool reads none. Raises DeviceError.

    Of a MIG instance it is that of the device at its PCI address.
    """
    if smi.health is None:
        return _address_of(smi, place)
    records = smi.health()
    listed = [record for record in records if "error" not in record]
    record, where = record_of(listed, place)
    if record is None and place.pci is not None:
        record, where = record_of(listed, replace(place, uuid=None))
    if record is None:
        return {"complaints": [f"{smi.source.name} lists no device {where}"]}
    complaints = [*record.get("complaints", ()), *(record["error"] for record in records if "error" in record)]
    return {**record, "complaints": complaints, "source": smi.source.name}


def _address_of(smi: Smi, place: DevicePlace) -> dict[str, Any]:
    """Return the PCI address of a place by a tool that reads no health; {} if the framework has it."""
    if normal_pci(place.pci) is not None:
        return {}
    record, _ = record_of([record for record in smi.read() if "error" not in record], place)
    return {} if record is None or "pci" not in record else {"pci": record["pci"]}


class HealthReader:
    """Reads one device. `tool` returns fields of the event `health`, `source`, `pci` and `complaints`; None: no event.

    What it raises is in the event's `absent`. `root` is the root of /sys and /dev.
    """

    def __init__(self, place: DevicePlace, tool: Callable[[], Mapping[str, Any] | None], root: Path = ROOT) -> None:
        self._place, self._tool, self._root = place, tool, root
        self._pci = normal_pci(place.pci)
        self._seen: set[str] = set()

    def write(self, log: EventLog, when: str) -> None:
        """Append the event to the rank's log, if there is one."""
        found = self.read(when)
        if found is not None:
            log.write(found)

    def read(self, when: str) -> Health | None:
        """Return the event; lines of the kernel's log are those that no earlier call has seen."""
        absent: dict[str, str] = {}
        found = self._sysfs()  # first: the link may slow down while a program is started
        try:
            answer = within(_PATIENCE_S, self._ask)
        except Exception as error:  # a vendor's tool can fail in any way
            answer, absent["tool"] = {}, _short(str(error) or type(error).__name__)
        if answer is None:
            return None
        if self._pci is None:
            self._pci = normal_pci(answer.get("pci"))
            found = self._sysfs()
        if answer.get("complaints"):
            absent["tool"] = _short("; ".join(answer["complaints"]))
        sources = [name for name in ("sysfs" * bool(found), answer.get("source", "")) if name]
        lines = answer.get("kernel_log")
        if lines is None and self._pci is None:
            absent["pci"] = "neither framework nor tool gives the device's PCI address"
        elif lines is None:
            try:
                lines = lines_about(str(self._pci), kernel_log(self._root))
                sources.append("kernel log")
            except Exception as error:
                absent["kernel_log"] = _short(str(error))
        return Health(
            when=when,
            card=self._place.index,
            pci=self._pci,
            sources=tuple(sources),
            link_errors={**found.pop("link_errors", {}), **answer.get("link_errors", {})},
            kernel_log=None if lines is None else self._new(lines),
            absent=absent,
            **{**found, **answer.get("numbers", {})},
        )

    def _ask(self) -> dict[str, Any] | None:
        """Return what the tool reads, its numbers as the event has them; a link of width 0 is none."""
        answer = self._tool()
        if answer is None:
            return None
        known = {name: convert(answer[name]) for name, convert in _NUMBERS.items() if answer.get(name) is not None}
        numbers = {name: value for name, value in known.items() if value or not name.startswith("pcie_")}
        return {**answer, "numbers": numbers}

    def _sysfs(self) -> dict[str, Any]:
        return {} if self._pci is None else {**pcie_link(self._pci, self._root), **aer_errors(self._pci, self._root)}

    def _new(self, lines: list[str]) -> tuple[str, ...]:
        new = [line for line in lines if line not in self._seen]
        self._seen.update(new)
        # A few of each kind, which differ in numbers only: many corrected errors must not hide the one that was not.
        kinds: Counter[str] = Counter()
        kept: list[str] = []
        for line in new:
            kinds[_KIND.sub("", line)] += 1
            if kinds[_KIND.sub("", line)] <= _MOST_ALIKE and len(kept) < _MOST_LINES:
                kept.append(_short(line))
        return (*kept, *([f"and {len(new) - len(kept)} more lines"] if len(new) > len(kept) else []))


def pcie_link(pci: str, root: Path = ROOT) -> dict[str, int]:
    """Return `pcie_width` (lanes) and `pcie_generation` of a PCI address, and what device and slot can do at most.

    What sysfs does not have, or has as unknown, is left out.
    """
    device = root / "sys" / "bus" / "pci" / "devices" / pci
    slot = device.resolve().parent  # the port above; a root bus has no such files
    found: dict[str, int] = {}
    for name, file, read in (("pcie_width", "link_width", _lanes), ("pcie_generation", "link_speed", _generation)):
        now, most = read(device / f"current_{file}"), read(device / f"max_{file}")
        of_slot = read(slot / f"max_{file}")
        if now and most:
            found.update({name: now, f"{name}_max": min(most, of_slot or most)})
    return found


def aer_errors(pci: str, root: Path = ROOT) -> dict[str, Any]:
    """Return `link_errors` of PCIe's error reporting (AER) by kind; {} where kernel or device has none."""
    device, counts = root / "sys" / "bus" / "pci" / "devices" / pci, {}
    for file, name in _AER.items():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            total = _AER_TOTAL.search((device / file).read_text(encoding="ascii"))
            counts.update({name: int(total.group(1))} if total else {})
    return {"link_errors": counts} if counts else {}


def kernel_log(root: Path = ROOT) -> list[str]:
    """Return the lines of the kernel's log as `[seconds since boot] text`. Raises OSError or DeviceError.

    Both /dev/kmsg and `dmesg` may be missing in a container, or be left to root (kernel.dmesg_restrict).
    """
    try:
        handle = os.open(str(root / "dev" / "kmsg"), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        if root != ROOT:
            raise
        return run_tool(("dmesg",), timeout_s=_DMESG_S).splitlines()
    parts = []
    try:
        while True:
            try:
                part = os.read(handle, _RECORD_BYTES)
            except BrokenPipeError:  # a record was overwritten before it was read
                continue
            except BlockingIOError:  # the last record
                break
            if not part:
                break
            parts.append(part)
    finally:
        os.close(handle)
    found = (_KMSG.fullmatch(line) for line in b"".join(parts).decode("utf-8", "replace").splitlines())
    return [f"[{int(one.group(1)) / 1e6:12.6f}] {one.group(2)}" for one in found if one]


def lines_about(pci: str, lines: list[str]) -> list[str]:
    """Return the lines that name a PCI address, with its function or without one as in `NVRM: Xid (PCI:0000:1b:00)`."""
    slot, _, function = pci.rpartition(".")
    form = re.compile(rf"(?<![0-9a-f]){re.escape(slot)}(?:\.{function}(?![0-9a-f])|(?!\.?[0-9a-f]))", re.IGNORECASE)
    return [line for line in lines if form.search(line)]


def _short(text: str) -> str:
    return visible(text)[:_LONGEST_LINE]


def _lanes(path: Path) -> int | None:
    text = _line(path)
    return int(text) if text.isdigit() and 0 < int(text) <= _WIDEST else None


def _generation(path: Path) -> int | None:
    try:
        return _GENERATIONS.get(float(_line(path).partition(" ")[0]))  # "16.0 GT/s PCIe", "8 GT/s", "Unknown"
    except ValueError:
        return None


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
