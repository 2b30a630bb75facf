"""NVIDIA's NVML and `nvidia-smi`, and Iluvatar's `ixsmi`, which takes queries of the same form.

NVML's functions are those of NVIDIA's public documentation (NVML API Reference) under the names of nvidia-ml-py; what a
device or a version of the library does not have is left out.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from typing import Any, Callable, Iterable, Mapping, Sequence, Tuple, TypeVar

from trainer.errors import DeviceError
from trainer.telemetry.base import GIB, Samples, Smi, declare, device_readings, normal_pci, smi_tool
from trainer.telemetry.query_gpu import HEALTH, REMAPPED, CsvQuery, clock_words

_Read = TypeVar("_Read")
_Part = Tuple[str, Callable[[Any], Mapping[str, Any]]]

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
_NOT_THERE = (3, 6, 13)  # NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NOT_FOUND, NVML_ERROR_FUNCTION_NOT_FOUND
_LOST = 15  # NVML_ERROR_GPU_IS_LOST
_CORRECTED, _UNCORRECTED, _VOLATILE = 0, 1, 0  # nvmlMemoryErrorType_t, nvmlEccCounterType_t
_RETIRED_BY = (0, 1)  # nvmlPageRetirementCause_t: several single-bit errors, a double-bit error
_NVLINK_ERRORS = {0: "nvlink replay", 1: "nvlink recovery", 2: "nvlink crc flit", 3: "nvlink crc data"}
_MOST_LINKS = 18  # NVML_NVLINK_MAX_LINKS


@smi_tool(NVML)
def open_nvml() -> Smi:
    """Return NVML; the library is opened by the first reading."""
    nvml = _Nvml()
    has_library = importlib.util.find_spec("pynvml") is not None
    return Smi(NVML, nvml.read, nvml.driver, is_started=not has_library, health=nvml.health)


@smi_tool(IXSMI)
def open_ixsmi() -> Smi:
    """Return ixsmi."""
    query, health = CsvQuery("ixsmi", ("ixsmi",)), CsvQuery("ixsmi", ("ixsmi",), HEALTH)
    return Smi(IXSMI, query.read, query.driver, health=health.read)


class _Nvml:
    """The library if Python has it and it finds its driver, else the program."""

    def __init__(self) -> None:
        self._library: Library | None = None
        self._program = CsvQuery("nvidia-smi", ("nvidia-smi",))
        self._health = CsvQuery("nvidia-smi", ("nvidia-smi",), HEALTH)
        self._remapped = CsvQuery("nvidia-smi", ("nvidia-smi",), REMAPPED, "--query-remapped-rows")

    def read(self) -> Samples:
        return self._ask(lambda library: library.read(), self._program.read)

    def driver(self) -> str:
        return self._ask(lambda library: library.driver(), self._program.driver)

    def health(self) -> Samples:
        return self._ask(lambda library: library.health(), self._program_health)

    def _program_health(self) -> Samples:
        records = self._health.read()
        with contextlib.suppress(DeviceError):  # older drivers have no such query, and their devices retire pages
            remapped = {one["pci"]: one for one in self._remapped.read() if "pci" in one}
            for record in records:
                record.update(remapped.get(record.get("pci"), {}))
        return records

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
        self._handles: dict[int, Any] = {}
        self._lost: dict[int, str] = {}
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except Exception as error:  # NVMLError, which another module of this name may lack
            raise DeviceError(f"NVML could not be opened: {error}") from None
        for index in range(count):
            try:
                self._handles[index] = pynvml.nvmlDeviceGetHandleByIndex(index)
            except Exception as error:  # of one device, which another run may not need
                self._lost[index] = str(error)
        if not self._handles:
            raise DeviceError(f"NVML lists no device{''.join(f'; device {i}: {why}' for i, why in self._lost.items())}")
        self._instances = [(index, one) for index, handle in self._handles.items() for one in self._mig(handle)]

    def driver(self) -> str:
        """Return the driver's version. Raises DeviceError."""
        try:
            return _text(self._nvml.nvmlSystemGetDriverVersion())
        except Exception as error:
            raise DeviceError(f"NVML could not read the driver's version: {error}") from None

    def read(self) -> Samples:
        """Return a record of every device, then of every MIG instance, which has memory alone and `instance_of`."""
        nvml = self._nvml
        parts: Sequence[_Part] = (
            ("name", lambda handle: {"name": _text(nvml.nvmlDeviceGetName(handle))}),
            ("memory", self._memory),
            ("power", lambda handle: {"power_w": nvml.nvmlDeviceGetPowerUsage(handle) / _MILLIWATTS}),
            ("temperature", self._temperature),
            ("use", lambda handle: {"use_percent": float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)}),
            ("core clock", lambda handle: {"core_clock_mhz": self._clock(handle, nvml.NVML_CLOCK_SM)}),
            ("memory clock", lambda handle: {"memory_clock_mhz": self._clock(handle, nvml.NVML_CLOCK_MEM)}),
            ("clock reasons", self._reasons),
        )
        records = self._records(parts)
        for index, handle in self._instances:
            record = self._record(f"a MIG instance of device {index}", handle, (self._uuid, ("memory", self._memory)))
            record.setdefault("complaints", []).append(
                "NVML reads the memory of a MIG instance; power, temperature, use, clocks and throttle reasons, which "
                "are those of the whole device, are not read"
            )
            records.append({"instance_of": index, **record})
        return records

    def health(self) -> Samples:
        """Return a record of every device with fields of the event `health`: errors since the driver was loaded."""
        nvml = self._nvml

        def ecc(handle: Any, kind: int) -> int:
            return int(nvml.nvmlDeviceGetTotalEccErrors(handle, kind, _VOLATILE))

        def retired(handle: Any) -> Mapping[str, Any]:
            pages = sum(len(nvml.nvmlDeviceGetRetiredPages(handle, cause)) for cause in _RETIRED_BY)
            return {
                "retired_pages": pages,
                "retirement_pending": bool(nvml.nvmlDeviceGetRetiredPagesPendingStatus(handle)),
            }

        def remapped(handle: Any) -> Mapping[str, Any]:
            corrected, uncorrected, pending, _ = nvml.nvmlDeviceGetRemappedRows(handle)
            return {"remapped_rows": int(corrected) + int(uncorrected), "retirement_pending": bool(pending)}

        return self._records(
            (
                ("corrected ECC errors", lambda handle: {"ecc_corrected": ecc(handle, _CORRECTED)}),
                ("uncorrected ECC errors", lambda handle: {"ecc_uncorrected": ecc(handle, _UNCORRECTED)}),
                ("retired pages", retired),
                ("remapped rows", remapped),
                ("PCIe width", lambda handle: {"pcie_width": nvml.nvmlDeviceGetCurrPcieLinkWidth(handle)}),
                ("largest PCIe width", lambda handle: {"pcie_width_max": nvml.nvmlDeviceGetMaxPcieLinkWidth(handle)}),
                (
                    "PCIe generation",
                    lambda handle: {"pcie_generation": nvml.nvmlDeviceGetCurrPcieLinkGeneration(handle)},
                ),
                (
                    "highest PCIe generation",
                    lambda handle: {"pcie_generation_max": nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle)},
                ),
                ("NVLink errors", self._link_errors),
            )
        )

    def _records(self, parts: Sequence[_Part]) -> Samples:
        """Return a record of every device, with a complaint for each reading that failed."""
        address: _Part = (
            "address",
            lambda handle: {"pci": normal_pci(_text(self._nvml.nvmlDeviceGetPciInfo(handle).busId))},
        )
        found = {
            index: {"card": index, **self._record(f"device {index}", handle, (address, self._uuid, *parts))}
            for index, handle in self._handles.items()
        }
        for index, why in self._lost.items():
            found[index] = {"card": index, "complaints": [f"NVML has no handle of device {index}: {why}"]}
        return [found[index] for index in sorted(found)]

    def _record(self, where: str, handle: Any, parts: Iterable[_Part]) -> dict[str, Any]:
        record: dict[str, Any] = {}
        for what, read in parts:
            try:
                record.update((name, value) for name, value in read(handle).items() if value is not None)
            except Exception as error:  # one failed reading must not lose the rest
                code = getattr(error, "value", None)
                # A module older than the function has no such name.
                if code not in _NOT_THERE and not isinstance(error, AttributeError):
                    record.setdefault("complaints", []).append(f"NVML could not read the {what} of {where}: {error}")
                if code == _LOST:
                    break
        return record

    @property
    def _uuid(self) -> _Part:
        return "UUID", lambda handle: {"uuid": _text(self._nvml.nvmlDeviceGetUUID(handle))}

    def _mig(self, handle: Any) -> list[Any]:
        """Return the handles of a device's MIG instances; none with MIG switched off, or a library older than MIG."""
        nvml, found = self._nvml, []
        with contextlib.suppress(Exception):
            if nvml.nvmlDeviceGetMigMode(handle)[0]:
                for at in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                    with contextlib.suppress(Exception):  # an index without an instance
                        found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, at))
        return found

    def _link_errors(self, handle: Any) -> Mapping[str, Any]:
        """Return the errors of all active links together by their kind; nothing for a device without NVLink."""
        nvml = self._nvml
        counts: dict[str, int] = {}
        for link in range(_MOST_LINKS):
            with contextlib.suppress(Exception):  # fewer links, or a counter that this generation lacks
                if nvml.nvmlDeviceGetNvLinkState(handle, link):
                    for kind, name in _NVLINK_ERRORS.items():
                        with contextlib.suppress(Exception):
                            counts[name] = counts.get(name, 0) + int(
                                nvml.nvmlDeviceGetNvLinkErrorCounter(handle, link, kind)
                            )
        return {"link_errors": counts or None}

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


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
