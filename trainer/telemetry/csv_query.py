"""Tools that are asked as `nvidia-smi` is: --query-gpu=FIELDS --format=csv,noheader,nounits, one line a card.

Form and fields are those of NVIDIA's public documentation (nvidia-smi --help-query-gpu). That a field is missing, or
has another name in another version, is expected: shorter lists are tried in turn, and what is not read is told.
"""

from __future__ import annotations

from typing import Any, Sequence

from trainer.errors import DeviceError
from trainer.telemetry.base import MIB_PER_GIB, Samples, normal_pci
from trainer.telemetry.metrics import card_metrics
from trainer.telemetry.throttling import clock_words
from trainer.telemetry.tool import RefusedError, run_tool

QUERIED = card_metrics(
    *("memory_used_gib", "memory_total_gib", "power_w", "temperature_c", "use_percent"),
    *("core_clock_mhz", "memory_clock_mhz", "throttle", "clock_reasons"),
)
"""What a tool that takes all of the fields tells."""

_NUMBERS = {
    "memory.used": ("memory_used_gib", MIB_PER_GIB),
    "memory.total": ("memory_total_gib", MIB_PER_GIB),
    "power.draw": ("power_w", 1.0),
    "temperature.gpu": ("temperature_c", 1.0),
    "utilization.gpu": ("use_percent", 1.0),
    "clocks.sm": ("core_clock_mhz", 1.0),
    "clocks.mem": ("memory_clock_mhz", 1.0),
}
_BASE = ("index", "pci.bus_id", "memory.used", "memory.total")
_READINGS = ("power.draw", "temperature.gpu", "utilization.gpu", "clocks.sm", "clocks.mem")
_REASONS = ("clocks_throttle_reasons.active", "clocks_event_reasons.active")  # the name before and after driver 535
_LISTS = (
    *((*_BASE, *_READINGS, reasons) for reasons in _REASONS),
    (*_BASE, *_READINGS),
    (*_BASE, "temperature.gpu", "utilization.gpu"),
    _BASE,
    ("index", "memory.used", "memory.total"),
)
_ABSENT = ("n/a", "not supported", "unknown error", "not available", "requested functionality has been deprecated")


class CsvQuery:
    """A tool and the longest list of fields that it takes."""

    def __init__(self, name: str, tool: Sequence[str]) -> None:
        self._name, self._tool = name, tuple(tool)
        self._fields: Sequence[str] | None = None

    def read(self) -> Samples:
        """Return a record of every card of the host. Raises DeviceError where the tool is missing, hangs, or fails."""
        fields, text = self._ask()
        records = parse_csv(self._name, fields, text)
        missing = [name for name in (*_READINGS, "throttle reasons") if name not in fields]
        if fields[-1] in _REASONS:
            missing.remove("throttle reasons")
        if missing:
            records.append(
                {"error": f"{self._name} does not take the fields for {', '.join(missing)}; they are not read"}
            )
        return records

    def driver(self) -> str:
        """Return the driver's version. Raises DeviceError."""
        lines = {line.strip() for line in self._query(("driver_version",)).splitlines() if line.strip()}
        if len(lines) != 1 or len(next(iter(lines))) > 80:
            raise DeviceError(f"{self._name} printed {len(lines)} driver versions, expected one")
        return lines.pop()

    def _ask(self) -> tuple[Sequence[str], str]:
        if self._fields is not None:
            return self._fields, self._query(self._fields)
        refused: RefusedError | None = None
        for fields in _LISTS:
            try:
                text = self._query(fields)
            except RefusedError as error:
                refused = refused or error
                continue
            self._fields = fields
            return fields, text
        assert refused is not None
        raise refused

    def _query(self, fields: Sequence[str]) -> str:
        return run_tool(self._tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")


def parse_csv(who: str, fields: Sequence[str], text: str) -> Samples:
    """Return a record for each line; a field that is not available is left out.

    A cell that is neither a number nor a word for "not available" is a complaint, as is a line of another form; raises
    DeviceError where no line is a card's.
    """
    records: Samples = []
    complaints: list[str] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(fields) or not (cells[0].isascii() and cells[0].isdigit()):
            complaints.append(f"{who} printed {line[:120]!r}, expected {len(fields)} fields of a card")
            continue
        record: dict[str, Any] = {"card": int(cells[0])}
        for field, cell in zip(fields[1:], cells[1:]):
            if _is_absent(cell):
                continue
            try:
                record.update(_value(field, cell))
            except ValueError:
                complaints.append(f"{who} printed {cell[:60]!r} for {field}, which is not read")
        records.append(record)
    if not records:
        raise DeviceError(complaints[0] if complaints else f"{who} printed no card")
    return [*records, *({"error": complaint} for complaint in complaints)]


def _value(field: str, cell: str) -> dict[str, Any]:
    if field == "pci.bus_id":
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


def _is_absent(cell: str) -> bool:
    return cell.strip("[] ").lower() in _ABSENT
