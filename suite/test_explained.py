"""Why is p_core what it is? The time of a step against the device's own measured peaks: docs/peaks.md."""

from __future__ import annotations

from fixtures.ask.probes import asked_cells
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import ANSWERED, question


@question("explained", of=asked_cells("links"), enough=ANSWERED)
def test_explained(explained: MetricResult) -> None:
    """Compute at peak, convolutions, memory, exchange, launch overhead, rest; the largest loss in words. Recorded."""
    explained.require_pass()
