"""Does training fit the memory that the vendor publishes?"""

from __future__ import annotations

from fixtures.ask.runs import MetricResult
from fixtures.select.registry import cells_with_the_metric, question


@question("mem", of=cells_with_the_metric)
def test_mem(verdict: MetricResult) -> None:
    """Peak memory in use on any device of the run."""
    verdict.require_pass()
