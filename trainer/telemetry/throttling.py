"""NVML's reasons for a clock that is lower than it could be, and which of them say that a card was slowed down.

Bits and meanings: NVML API reference, nvmlClocksEventReasons (nvmlClocksThrottleReasons before driver 535).
"""

from __future__ import annotations

from typing import Any

_SLOWED_DOWN = {
    0x08: "hw_slowdown",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "power_brake",
}
"""Heat, or a power supply that cannot keep up: a card in this state is not the card that its vendor measured."""

# A software power cap (0x04) is how a card at full load keeps to its power limit: many run so from the first minute to
# the last, also where the vendor's numbers were measured, and a run that it made too slow fails by its numbers. It is
# written down, and does not make a run invalid. Clocks that somebody set (0x02, 0x100) and clocks that cards keep in
# step (0x10) are written down for the same reason.
_KEPT_LOW = {
    0x02: "clocks_setting",
    0x04: "sw_power_cap",
    0x10: "sync_boost",
    0x100: "display_clocks",
}
_IDLE = 0x01


def clock_words(bits: int) -> dict[str, Any]:
    """Return `throttle` for the reasons that make a run invalid, `clock_reasons` for others; only what there is."""
    slowed = [word for bit, word in _SLOWED_DOWN.items() if bits & bit]
    known = sum(_SLOWED_DOWN) | sum(_KEPT_LOW) | _IDLE
    others = [word for bit, word in _KEPT_LOW.items() if bits & bit]
    if bits & ~known:
        others.append(f"unknown {bits & ~known:#x}")
    words: dict[str, Any] = {"throttle": ", ".join(slowed), "clock_reasons": ", ".join(others)}
    return {name: text for name, text in words.items() if text}
