"""NVIDIA's NVML: through nvidia-ml-py where it is installed, else through `nvidia-smi`, which reads the same."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Callable, TypeVar

from trainer.errors import DeviceError
from trainer.telemetry.base import Samples, Smi, normal_pci
from trainer.telemetry.csv_query import QUERIED, CsvQuery
from trainer.telemetry.throttling import clock_words

_Read = TypeVar("_Read")

SOURCE = "nvml"
METRICS = QUERIED  # the library gives what the query does, which stands in for it

_GIB = float(2**30)
_MILLIWATTS = 1000.0
_NOT_THERE = (3, 13)  # NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_FUNCTION_NOT_FOUND


def open_smi() -> Smi:
    """Return the tool; the library is opened with the first reading, by whoever reads."""
    nvml = _Nvml()
    has_library = importlib.util.find_spec("pynvml") is not None
    return Smi(SOURCE, METRICS, nvml.read, nvml.driver, is_started=not has_library)


class _Nvml:
    """The library where Python has it and it finds its driver, else the program."""

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
                raise DeviceError(f"{failed}; nor did nvidia-ml-py help: {error}") from None
        return library(self._library)


class Library:
    """NVML through pynvml, kept open: a reading costs microseconds and starts nothing."""

    def __init__(self, pynvml: Any) -> None:
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except Exception as error:  # its own family, which another module of this name may lack
            raise DeviceError(f"NVML could not be opened: {error}") from None
        if not self._handles:
            raise DeviceError("NVML lists no card")

    def driver(self) -> str:
        """Return the driver's version. Raises DeviceError."""
        try:
            return _text(self._nvml.nvmlSystemGetDriverVersion())
        except Exception as error:
            raise DeviceError(f"NVML did not tell the driver's version: {error}") from None

    def read(self) -> Samples:
        """Return a record of every card, a complaint for each reading that failed; what a card lacks is left out."""
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
                except Exception as error:  # what one card does not tell is no reason to lose the rest
                    if getattr(error, "value", None) not in _NOT_THERE:
                        complaints.append({"error": f"NVML did not tell the {what} of card {index}: {error}"})
            records.append({name: value for name, value in record.items() if value is not None})
        return [*records, *complaints]

    def _memory(self, handle: Any) -> dict[str, Any]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return {"memory_used_gib": memory.used / _GIB, "memory_total_gib": memory.total / _GIB}

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
