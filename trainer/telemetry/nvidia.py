"""NVIDIA's NVML and `nvidia-smi`, and Iluvatar's `ixsmi`, which takes the same queries.

Fields are those of NVIDIA's public documentation (nvidia-smi --help-query-gpu; for the reasons of low clocks
nvmlClocksEventReasons, before driver 535 nvmlClocksThrottleReasons). A version may lack a field or have another name
for it: shorter lists are tried in turn, and what cannot be read is reported.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Callable, Sequence, TypeVar

from trainer.errors import DeviceError
from trainer.telemetry.base import (
    GIB,
    MIB_PER_GIB,
    RefusedError,
    Samples,
    Smi,
    declare,
    device_readings,
    normal_pci,
    run_tool,
    smi_tool,
)

_Read = TypeVar("_Read")

_QUERIED = device_readings(
    *("memory_used_gib", "memory_total_gib", "power_w", "temperature_c", "use_percent"),
    *("core_clock_mhz", "memory_clock_mhz", "throttle", "clock_reasons"),
)
NVML = declare(
    "nvml",
    _QUERIED,
    "local rank 0; `nvidia-ml-py` if Python has it, else `nvidia-smi --query-gpu`",
    "NVIDIA's public documentation; never tried on a device here",
)
IXSMI = declare(
    "ixsmi",
    _QUERIED,
    "local rank 0, queries of the form of `nvidia-smi`; only fields that it takes",
    "public documentation; **never tried on a device here**",
)

_MILLIWATTS = 1000.0
_NOT_THERE = (3, 13)  # NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_FUNCTION_NOT_FOUND
_SLOWED_DOWN = {0x08: "hw_slowdown", 0x20: "sw_thermal", 0x40: "hw_thermal", 0x80: "power_brake"}
"""Heat, or insufficient power: a device in this state does not have the speed that its vendor measured."""

# Recorded without making a run invalid. The software power cap (0x04) is how a device at full load keeps to its power
# limit: many run under it all the time, also when the vendor's numbers were measured, and a run that it slows down too
# much fails by its numbers. The same holds for clocks that were set (0x02, 0x100) or synchronised (0x10).
_KEPT_LOW = {0x02: "clocks_setting", 0x04: "sw_power_cap", 0x10: "sync_boost", 0x100: "display_clocks"}
_IDLE = 0x01

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


@smi_tool(NVML)
def open_nvml() -> Smi:
    """Return NVML; the library is opened by the first reading."""
    nvml = _Nvml()
    has_library = importlib.util.find_spec("pynvml") is not None
    return Smi(NVML, nvml.read, nvml.driver, is_started=not has_library)


@smi_tool(IXSMI)
def open_ixsmi() -> Smi:
    """Return ixsmi."""
    query = CsvQuery("ixsmi", ("ixsmi",))
    return Smi(IXSMI, query.read, query.driver)


class _Nvml:
    """The library if Python has it and it finds its driver, else the program."""

    def __init__(self) -> None:
        self._library: Library | None = None
        self._program = CsvQuery("nvidia-smi", ("nvidia-smi",))

    def read(self) -> Samples:
        return self._ask(lambda library: library.read(), self._program.read)

    def driver(self) -> str:
        return self._ask(lambda library: library.driver(), self._program.driver)

    def _ask(self, library: Callable[[Library], _Read], program: Callable[[], _Read]) -> _Read:
        try:
            self._library = self._library or Library(importlib.import_module("pynvml"))
        except (ImportError, DeviceError) as error:
            try:
                return program()
            except DeviceError as failed:
                raise type(failed)(f"{failed}; nor did nvidia-ml-py help: {error}") from None
        return library(self._library)


class Library:
    """NVML through pynvml, kept open: a reading costs microseconds and starts nothing."""

    def __init__(self, pynvml: Any) -> None:
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except Exception as error:  # NVMLError, which another module of this name may lack
            raise DeviceError(f"NVML could not be opened: {error}") from None
        if not self._handles:
            raise DeviceError("NVML lists no device")

    def driver(self) -> str:
        """Return the driver's version. Raises DeviceError."""
        try:
            return _text(self._nvml.nvmlSystemGetDriverVersion())
        except Exception as error:
            raise DeviceError(f"NVML did not tell the driver's version: {error}") from None

    def read(self) -> Samples:
        """Return a record of every device, and a complaint for each failed reading; unsupported ones are left out."""
        nvml = self._nvml
        records: Samples = []
        complaints: Samples = []
        for index, handle in enumerate(self._handles):
            record: dict[str, Any] = {"card": index}
            for what, read in (
                ("address", lambda handle: {"pci": normal_pci(_text(nvml.nvmlDeviceGetPciInfo(handle).busId))}),
                ("name", lambda handle: {"name": _text(nvml.nvmlDeviceGetName(handle))}),
                ("memory", self._memory),
                ("power", lambda handle: {"power_w": nvml.nvmlDeviceGetPowerUsage(handle) / _MILLIWATTS}),
                ("temperature", self._temperature),
                ("use", lambda handle: {"use_percent": float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)}),
                ("core clock", lambda handle: {"core_clock_mhz": self._clock(handle, nvml.NVML_CLOCK_SM)}),
                ("memory clock", lambda handle: {"memory_clock_mhz": self._clock(handle, nvml.NVML_CLOCK_MEM)}),
                ("clock reasons", self._reasons),
            ):
                try:
                    record.update(read(handle))
                except Exception as error:  # one failed reading must not lose the rest
                    if getattr(error, "value", None) not in _NOT_THERE:
                        complaints.append({"error": f"NVML did not tell the {what} of device {index}: {error}"})
            records.append({name: value for name, value in record.items() if value is not None})
        return [*records, *complaints]

    def _memory(self, handle: Any) -> dict[str, Any]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return {"memory_used_gib": memory.used / GIB, "memory_total_gib": memory.total / GIB}

    def _temperature(self, handle: Any) -> dict[str, Any]:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        return {"temperature_c": float(self._nvml.nvmlDeviceGetTemperature(handle, sensor))}

    def _clock(self, handle: Any, kind: Any) -> float:
        return float(self._nvml.nvmlDeviceGetClockInfo(handle, kind))

    def _reasons(self, handle: Any) -> dict[str, Any]:
        # The older name is the one that every version of the library and of its Python module has.
        return clock_words(int(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)))


class CsvQuery:
    """A tool and the longest list of fields that it takes."""

    def __init__(self, name: str, tool: Sequence[str]) -> None:
        self._name, self._tool = name, tuple(tool)
        self._fields: Sequence[str] | None = None

    def read(self) -> Samples:
        """Return a record of every device. Raises DeviceError if the tool is missing, hangs, or fails."""
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

    A cell that is neither a number nor "not available" is a complaint, as is a line of another form. Raises DeviceError
    if no line is that of a device.
    """
    records: Samples = []
    complaints: list[str] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(fields) or not (cells[0].isascii() and cells[0].isdigit()):
            complaints.append(f"{who} printed {line[:120]!r}, expected {len(fields)} fields of a device")
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
        raise DeviceError(complaints[0] if complaints else f"{who} printed no device")
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


def clock_words(bits: int) -> dict[str, Any]:
    """Return the words for NVML's bits: `throttle` for reasons that make a run invalid, `clock_reasons` for others."""
    slowed = [word for bit, word in _SLOWED_DOWN.items() if bits & bit]
    known = sum(_SLOWED_DOWN) | sum(_KEPT_LOW) | _IDLE
    others = [word for bit, word in _KEPT_LOW.items() if bits & bit]
    if bits & ~known:
        others.append(f"unknown {bits & ~known:#x}")
    words: dict[str, Any] = {"throttle": ", ".join(slowed), "clock_reasons": ", ".join(others)}
    return {name: text for name, text in words.items() if text}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
