"""Did the devices come through the training without a fault, and were their links as wide and fast as they can be?"""

from __future__ import annotations

from fixtures.ask.comparisons import cells_of_devices
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import ANSWERED, question


@question("health", of=cells_of_devices, enough=ANSWERED)
def test_health(health: MetricResult) -> None:
    """No new uncorrected error, retired page or kernel message of a fault; PCIe as wide and fast as device and slot."""
    health.require_pass()
