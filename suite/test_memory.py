"""Does training fit the memory that the vendor publishes?"""

from __future__ import annotations

import pytest

from fixtures.ask.runs import MetricResult


@pytest.mark.metric("mem")
def test_mem(verdict: MetricResult) -> None:
    """Peak memory in use on any device of the run."""
    verdict.require_pass()
