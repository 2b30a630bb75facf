"""Does the device train as many images a second as the vendor publishes?"""

from __future__ import annotations

from typing import Any, Mapping

import pytest


@pytest.mark.metric("p_whole")
def test_p_whole(verdict: Mapping[str, Any]) -> None:
    """Images/s from the start of training to its end, evaluations included."""
    assert verdict["verdict"] == "pass", verdict["reason"]


@pytest.mark.metric("p_train")
def test_p_train(verdict: Mapping[str, Any]) -> None:
    """Images/s of training, less the evaluations."""
    assert verdict["verdict"] == "pass", verdict["reason"]


@pytest.mark.metric("p_core")
def test_p_core(verdict: Mapping[str, Any]) -> None:
    """Images/s of computing alone: forward, backward with gradient exchange, optimizer."""
    assert verdict["verdict"] == "pass", verdict["reason"]
