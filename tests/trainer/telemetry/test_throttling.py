"""Which of NVML's reasons say that a card was slowed down, and which that it works as it always does."""

from __future__ import annotations

import importlib.util

import pytest

from trainer.telemetry.throttling import clock_words


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x00, {}),
        (0x01, {}),
        (0x04, {"clock_reasons": "sw_power_cap"}),
        (0x02, {"clock_reasons": "clocks_setting"}),
        (0x08, {"throttle": "hw_slowdown"}),
        (0x20, {"throttle": "sw_thermal"}),
        (0x48, {"throttle": "hw_slowdown, hw_thermal"}),
        (0x84, {"throttle": "power_brake", "clock_reasons": "sw_power_cap"}),
        (0x800, {"clock_reasons": "unknown 0x800"}),
    ],
)
def test_heat_and_a_power_brake_slow_a_card_down_and_a_power_cap_does_not(bits: int, words: dict[str, str]) -> None:
    assert clock_words(bits) == words


@pytest.mark.skipif(importlib.util.find_spec("pynvml") is None, reason="needs nvidia-ml-py (extra: nvidia)")
def test_the_bits_are_those_of_the_library() -> None:
    import pynvml

    names = {
        "HwSlowdown": "hw_slowdown",
        "SwThermalSlowdown": "sw_thermal",
        "HwThermalSlowdown": "hw_thermal",
        "HwPowerBrakeSlowdown": "power_brake",
    }
    for name, word in names.items():
        assert clock_words(getattr(pynvml, f"nvmlClocksThrottleReason{name}")) == {"throttle": word}
    assert clock_words(pynvml.nvmlClocksThrottleReasonSwPowerCap) == {"clock_reasons": "sw_power_cap"}
    assert clock_words(pynvml.nvmlClocksThrottleReasonGpuIdle) == {}
