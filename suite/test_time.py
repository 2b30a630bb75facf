"""Does the whole run, from set-up to the last evaluation, take no longer than the vendor publishes?"""

from __future__ import annotations

from fixtures.ask.runs import MetricResult
from fixtures.select.registry import cells_with_the_metric, question


@question("e2e_time", of=cells_with_the_metric)
def test_e2e_time(verdict: MetricResult) -> None:
    """Seconds from the trainer's start to its end on the last rank."""
    verdict.require_pass()
