"""Does training on the device reach the accuracy that the vendor publishes?"""

from __future__ import annotations

from typing import Any, Mapping

import pytest


@pytest.mark.metric("map")
def test_map(verdict: Mapping[str, Any]) -> None:
    """COCO box AP@[.50:.95] on val2017 after training."""
    assert verdict["verdict"] == "pass", verdict["reason"]
