"""Does training fit the memory that the vendor publishes?"""

from __future__ import annotations

from typing import Any, Mapping

import pytest


@pytest.mark.metric("mem")
def test_mem(verdict: Mapping[str, Any]) -> None:
    """Peak memory in use on any card of the run."""
    assert verdict["verdict"] == "pass", verdict["reason"]
