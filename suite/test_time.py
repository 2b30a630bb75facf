"""Does the whole run, from set-up to the last evaluation, take no longer than the vendor publishes?"""

from __future__ import annotations

import pytest

from fixtures.ask.runs import MetricResult


@pytest.mark.metric("e2e_time")
def test_e2e_time(verdict: MetricResult) -> None:
    """Seconds from the trainer's start to its end on the last rank."""
    verdict.require_pass()
