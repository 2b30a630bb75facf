"""Tools with queries of the form of `nvidia-smi --query-gpu=FIELDS --format=csv,noheader,nounits`.

Fields are those of `nvidia-smi --help-query-gpu`. A version or another vendor's tool may lack a field or have another
name for it: it is asked again without what it refuses, and what cannot be read is reported.
"""

from __future__ import annotations

import re
from typing import Any, Sequence

from trainer.errors import DeviceError
from trainer.telemetry.base import MIB_PER_GIB, RefusedError, Samples, normal_pci, run_tool

_NUMBERS = {
    "memory.used": ("memory_used_gib", MIB_PER_GIB),
    "memory.total": ("memory_total_gib", MIB_PER_GIB),
    "power.draw": ("power_w", 1.0),
    "gpu.power.draw": ("power_w", 1.0),
    "temperature.gpu": ("temperature_c", 1.0),
    "utilization.gpu": ("use_percent", 1.0),
    "clocks.sm": ("core_clock_mhz", 1.0),
    "clocks.mem": ("memory_clock_mhz", 1.0),
    "ecc.errors.corrected.volatile.total": ("ecc_corrected", 1.0),
    "ecc.errors.uncorrected.volatile.total": ("ecc_uncorrected", 1.0),
    "retired_pages.sbe": ("retired_pages", 1.0),
    "retired_pages.dbe": ("retired_pages", 1.0),
    "remapped_rows.correctable": ("remapped_rows", 1.0),
    "remapped_rows.uncorrectable": ("remapped_rows", 1.0),
    "pcie.link.gen.current": ("pcie_generation", 1.0),
    "pcie.link.gen.gpucurrent": ("pcie_generation", 1.0),
    "pcie.link.gen.max": ("pcie_generation_max", 1.0),
    "pcie.link.width.current": ("pcie_width", 1.0),
    "pcie.link.width.max": ("pcie_width_max", 1.0),
}
_ANSWERS = {"retired_pages.pending": "retirement_pending", "remapped_rows.pending": "retirement_pending"}
_ADDRESSES = ("pci.bus_id", "gpu_bus_id")
_UUIDS = ("uuid", "gpu_uuid")
_REASONS = ("clocks_throttle_reasons.active", "clocks_event_reasons.active")
_OTHER_NAMES = {
    "power.draw": "gpu.power.draw",  # of ixsmi in corex 4, as its users list it
    "pcie.link.gen.current": "pcie.link.gen.gpucurrent",
    _REASONS[0]: _REASONS[1],  # since driver 535
}
_BASE = ("index", "uuid", "pci.bus_id", "memory.used", "memory.total")
_PLAIN = ("power.draw", "temperature.gpu", "utilization.gpu", "clocks.sm", "clocks.mem")
READINGS = (*_BASE, *_PLAIN, _REASONS[0])
"""The fields of telemetry."""
HEALTH = (
    *("index", "uuid", "pci.bus_id"),
    *("ecc.errors.corrected.volatile.total", "ecc.errors.uncorrected.volatile.total"),
    *("retired_pages.sbe", "retired_pages.dbe", "retired_pages.pending"),
    *("pcie.link.gen.current", "pcie.link.gen.max", "pcie.link.width.current", "pcie.link.width.max"),
)
"""The fields of the event `health`."""
REMAPPED = (
    *("gpu_bus_id", "gpu_uuid"),
    *("remapped_rows.correctable", "remapped_rows.uncorrectable", "remapped_rows.pending"),
)
"""The fields of `nvidia-smi --query-remapped-rows`, which is a query of its own."""

_SHORTER = ((*_BASE, "temperature.gpu", "utilization.gpu"), ("index", "memory.used", "memory.total"))
_ABSENT = ("n/a", "not supported", "unknown error", "not available", "requested functionality has been deprecated")
_REFUSAL = re.compile(r"is not a valid field|invalid field|unknown field", re.IGNORECASE)
_LOST = re.compile(
    r"unable to determine the device handle for gpu.*?((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
)
_LOST_CELL = "gpu is lost"
_DRIVER = ("driver_version",)
_VERSION = re.compile(r"[0-9]{1,9}(?:[.-][0-9A-Za-z]{1,20}){1,6}")
_MOST_QUERIES = 20

# Heat, or insufficient power: a device in this state does not have the speed that its vendor measured.
_SLOWED_DOWN = {0x08: "hw_slowdown", 0x20: "sw_thermal", 0x40: "hw_thermal", 0x80: "power_brake"}
# Recorded without making a run invalid. The software power cap (0x04) is how a device at full load keeps to its power
# limit: many run under it all the time, also when the vendor's numbers were measured, and a run that it slows down too
# much fails by its numbers. The same holds for clocks that were set (0x02, 0x100) or synchronised (0x10).
_KEPT_LOW = {0x02: "clocks_setting", 0x04: "sw_power_cap", 0x10: "sync_boost", 0x100: "display_clocks"}
_IDLE = 0x01


class CsvQuery:
    """A tool, and those of `fields` that it takes."""

    def __init__(
        self, name: str, tool: Sequence[str], fields: Sequence[str] = READINGS, option: str = "--query-gpu"
    ) -> None:
        self._name, self._tool, self._wanted, self._option = name, tuple(tool), tuple(fields), option
        self._fields: Sequence[str] | None = None

    def read(self) -> Samples:
        """Return a record of every device. Raises DeviceError if the tool is missing, hangs, or fails."""
        fields, text = self._ask()
        records = parse_csv(self._name, fields, text)
        missing = [name for name in self._wanted if not {name, _OTHER_NAMES.get(name)} & set(fields)]
        shown = ["throttle reasons" if name in _REASONS else name for name in missing if name not in _BASE]
        if shown:
            records.append(
                {"error": f"{self._name} does not take the fields for {', '.join(shown)}; they are not read"}
            )
        return records

    def driver(self) -> str:
        """Return the driver's version. Raises DeviceError."""
        printed = [line.strip() for line in self._query(_DRIVER).splitlines()]
        lines = {line for line in printed if _is_row(_DRIVER, [line])}
        if len(lines) != 1:
            raise DeviceError(f"{self._name} printed {len(lines)} driver versions, expected one")
        return lines.pop()

    def _ask(self) -> tuple[Sequence[str], str]:
        if self._fields is not None:
            return self._fields, self._query(self._fields)
        first: RefusedError | None = None
        fields: Sequence[str] = self._wanted
        shorter = [one for one in _SHORTER if set(one) <= set(self._wanted)]
        for _ in range(_MOST_QUERIES):
            try:
                text = self._query(fields)
            except RefusedError as error:
                first = first or error
                fields = _without_refused(fields, f"{error}\n{error.output}") or (shorter.pop(0) if shorter else ())
                if len(fields) < 2:
                    break
                continue
            self._fields = fields
            return fields, text
        assert first is not None
        raise first

    def _query(self, fields: Sequence[str]) -> str:
        try:
            text = run_tool(self._tool, f"{self._option}={','.join(fields)}", "--format=csv,noheader,nounits")
        except RefusedError as error:
            # With one device lost, or its infoROM damaged, nvidia-smi ends with an error and prints the others.
            rows = [line for line in error.output.splitlines() if _is_row(fields, line.split(","))]
            if _REFUSAL.search(error.output) or not rows:
                raise
            return error.output
        refusal = next((line.strip() for line in text.splitlines() if _REFUSAL.search(line)), None)
        if refusal is not None:
            raise RefusedError(f"{self._name} refused a field: {refusal[:200]}", text)
        return text


def _without_refused(fields: Sequence[str], words: str) -> Sequence[str]:
    """Return the fields with another name for those that `words` name, or without them; () if it names none."""
    refused = {name for name in fields if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", _answer(words))}
    if not refused or refused & {"index", "driver_version"}:
        return ()
    renamed = (_OTHER_NAMES.get(name) if name in refused else name for name in fields)
    return tuple(name for name in renamed if name)


def _answer(words: str) -> str:
    """Return the lines that refuse a field: a message may have the command, which names all of them."""
    return "\n".join(
        part for line in words.splitlines() for part in [line.rpartition(": ")[2]] if _REFUSAL.search(part)
    )


def parse_csv(who: str, fields: Sequence[str], text: str) -> Samples:
    """Return a record for each line; a field that is not available is left out.

    A cell that is neither a number nor "not available" is a complaint, as is a line of another form. A device that is
    lost has a record with that complaint alone. Raises DeviceError if no line is that of a device.
    """
    records: Samples = []
    complaints: list[str] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        cells, lost = [cell.strip() for cell in line.split(",")], _LOST.search(line.lower())
        if lost is not None:
            records.append({"pci": normal_pci(lost.group(1)), "complaints": [f"{who}: {line[:160]}"]})
            continue
        if not _is_row(fields, cells):
            complaints.append(f"{who} printed {line[:120]!r}, expected {len(fields)} fields of a device")
            continue
        record: dict[str, Any] = {}
        for field, cell in zip(fields, cells):
            if cell.strip("[] ").lower() == _LOST_CELL:
                record["complaints"] = [f"{who}: device {cells[0]} is lost"]
            elif cell.strip("[] ").lower() not in _ABSENT:
                try:
                    for name, value in _value(field, cell).items():
                        record[name] = record[name] + value if field in _SUMMED and name in record else value
                except ValueError:
                    complaints.append(f"{who} printed {cell[:60]!r} for {field}, which is not read")
        records.append(record)
    if not any(record.keys() - {"complaints", "pci"} for record in records):
        raise DeviceError(complaints[0] if complaints else f"{who} printed no device")
    return [*records, *({"error": complaint} for complaint in complaints)]


_SUMMED = ("retired_pages.sbe", "retired_pages.dbe", "remapped_rows.correctable", "remapped_rows.uncorrectable")


def _is_row(fields: Sequence[str], cells: Sequence[str]) -> bool:
    """Return whether these are the cells of a device; any other line is a message of the tool."""
    if len(cells) != len(fields):
        return False
    if fields == _DRIVER:
        return _VERSION.fullmatch(cells[0].strip()) is not None
    if fields[0] in _ADDRESSES:
        return normal_pci(cells[0]) is not None
    return cells[0].isascii() and cells[0].strip().isdigit()


def _value(field: str, cell: str) -> dict[str, Any]:
    if field == "index":
        return {"card": int(cell)}
    if field in _UUIDS:
        return {"uuid": cell}
    if field in _ANSWERS:
        return {_ANSWERS[field]: {"yes": True, "no": False}[cell.lower()]} if cell else {}
    if field in _ADDRESSES:
        pci = normal_pci(cell)
        if pci is None:
            raise ValueError(cell)
        return {"pci": pci}
    if field in _REASONS:
        return clock_words(int(cell, 16))
    name, unit = _NUMBERS[field]
    number = float(cell)
    if number != number or abs(number) == float("inf"):
        raise ValueError(cell)
    return {name: number / unit}


def clock_words(bits: int) -> dict[str, Any]:
    """Return the words for NVML's bits: `throttle` for reasons that make a run invalid, `clock_reasons` for others.

    Bits: nvmlClocksEventReasons, before driver 535 nvmlClocksThrottleReasons.
    """
    slowed = [word for bit, word in _SLOWED_DOWN.items() if bits & bit]
    known = sum(_SLOWED_DOWN) | sum(_KEPT_LOW) | _IDLE
    others = [word for bit, word in _KEPT_LOW.items() if bits & bit]
    if bits & ~known:
        others.append(f"unknown {bits & ~known:#x}")
    words: dict[str, Any] = {"throttle": ", ".join(slowed), "clock_reasons": ", ".join(others)}
    return {name: text for name, text in words.items() if text}
