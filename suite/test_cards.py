"""Is one device or host slower than its siblings? Asked with --each-card or --each-host, of a run on each."""

from __future__ import annotations

from fixtures.ask.comparisons import devices_or_hosts
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import ANSWERED, question


@question("siblings", of=devices_or_hosts, enough=ANSWERED)
def test_no_device_is_slower(siblings: MetricResult) -> None:
    """No device's or host's p_core lies below the median of the others' by more than the tolerance."""
    siblings.require_pass()
