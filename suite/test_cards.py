"""Is one device of the host slower than its siblings? Asked with --each-card, of a run of its own on every device."""

from __future__ import annotations

from fixtures.ask.comparisons import devices_of_this_host
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import ANSWERED, question


@question("siblings", of=devices_of_this_host, enough=ANSWERED)
def test_no_device_is_slower(siblings: MetricResult) -> None:
    """No device's p_core lies below the median of the others' by more than the tolerance."""
    siblings.require_pass()
