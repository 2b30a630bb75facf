"""Does the whole run, from set-up to the last evaluation, take no longer than the vendor publishes?"""

from __future__ import annotations

from typing import Any, Mapping

import pytest


@pytest.mark.metric("e2e_time")
def test_e2e_time(verdict: Mapping[str, Any]) -> None:
    """Seconds from the trainer's start to its end on the last rank."""
    assert verdict["verdict"] == "pass", verdict["reason"]
