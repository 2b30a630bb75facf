"""Does training on the device reach the accuracy that the vendor publishes?"""

from __future__ import annotations

import pytest

from fixtures.ask.runs import MetricResult


@pytest.mark.metric("map")
def test_map(verdict: MetricResult) -> None:
    """COCO box AP@[.50:.95] on val2017 after training."""
    verdict.require_pass()
