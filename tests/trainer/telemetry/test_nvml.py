"""NVML through nvidia-ml-py, with a stand-in for the library: no card is at hand. Names are those of nvidia-ml-py."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from trainer.errors import DeviceError
from trainer.telemetry.nvml import METRICS, Library, open_smi


class FakeError(Exception):
    """As NVMLError: it carries the library's code."""

    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value


def fake_nvml(cards: int = 2, **failing: int) -> Any:
    """A library of cards that tell everything, but for what `failing` gives an error code for."""

    def told(what: str, value: Any) -> Any:
        if what in failing:
            raise FakeError(failing[what])
        return value

    fake = SimpleNamespace(NVML_TEMPERATURE_GPU=0, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, opened=0)

    def init() -> None:
        fake.opened += 1
        told("init", None)

    fake.nvmlInit = init
    fake.nvmlDeviceGetCount = lambda: cards
    fake.nvmlDeviceGetHandleByIndex = lambda index: index
    fake.nvmlSystemGetDriverVersion = lambda: told("driver", b"470.129.06")
    fake.nvmlDeviceGetPciInfo = lambda card: SimpleNamespace(busId=f"00000000:1{card}:00.0".encode())
    fake.nvmlDeviceGetName = lambda card: b"NVIDIA A100-SXM4-40GB"
    fake.nvmlDeviceGetMemoryInfo = lambda card: told("memory", SimpleNamespace(used=3 * 2**30, total=40 * 2**30))
    fake.nvmlDeviceGetPowerUsage = lambda card: told("power", 250_500)
    fake.nvmlDeviceGetTemperature = lambda card, sensor: told("temperature", 61)
    fake.nvmlDeviceGetUtilizationRates = lambda card: told("use", SimpleNamespace(gpu=98, memory=50))
    fake.nvmlDeviceGetClockInfo = lambda card, kind: told("clock", {1: 1410, 2: 1215}[kind])
    fake.nvmlDeviceGetCurrentClocksThrottleReasons = lambda card: told("reasons", 0x48)
    return fake


def test_a_card_is_read_in_the_units_of_the_suite() -> None:
    records = Library(fake_nvml()).read()

    assert records[1] == {
        "card": 1,
        "pci": "0000:11:00.0",
        "name": "NVIDIA A100-SXM4-40GB",
        "memory_used_gib": 3.0,
        "memory_total_gib": 40.0,
        "power_w": 250.5,
        "temperature_c": 61.0,
        "use_percent": 98.0,
        "core_clock_mhz": 1410.0,
        "memory_clock_mhz": 1215.0,
        "throttle": "hw_slowdown, hw_thermal",
    }
    assert {metric.name for metric in METRICS} - set(records[1]) == {"clock_reasons"}


def test_what_a_card_does_not_have_is_left_out_in_silence() -> None:
    records = Library(fake_nvml(power=3)).read()

    assert not any("power_w" in record or "error" in record for record in records)


def test_what_a_card_fails_to_tell_is_told_beside_the_rest() -> None:
    records = Library(fake_nvml(cards=1, power=15)).read()

    assert records[0]["memory_used_gib"] == 3.0
    assert records[1:] == [{"error": "NVML did not tell the power of card 0: code 15"}]


@pytest.mark.parametrize("fake", [fake_nvml(init=9), fake_nvml(cards=0)])
def test_a_library_without_its_driver_or_cards_is_refused(fake: Any) -> None:
    with pytest.raises(DeviceError, match="NVML"):
        Library(fake)


def test_the_driver_is_told() -> None:
    assert Library(fake_nvml()).driver() == "470.129.06"
    with pytest.raises(DeviceError, match="did not tell the driver's version: code 1"):
        Library(fake_nvml(driver=1)).driver()


def test_the_library_is_opened_once_and_not_before_it_is_asked(monkeypatch: Any) -> None:
    fake = fake_nvml()
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)
    smi = open_smi()

    assert fake.opened == 0
    smi.read()
    smi.read()
    assert fake.opened == 1


def test_without_library_and_program_both_are_named(monkeypatch: Any) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"no module {name}")

    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setenv("PATH", "/nonexistent")
    smi = open_smi()

    with pytest.raises(DeviceError, match=r"none of nvidia-smi is on PATH.*nvidia-ml-py help: no module pynvml"):
        smi.read()
    with pytest.raises(DeviceError, match="none of nvidia-smi is on PATH"):
        smi.driver()
