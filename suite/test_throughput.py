"""Does the device train as many images a second as the vendor publishes?"""

from __future__ import annotations

import pytest

from fixtures.ask.runs import MetricResult


@pytest.mark.metric("p_whole")
def test_p_whole(verdict: MetricResult) -> None:
    """Images/s from the start of training to its end, evaluations included."""
    verdict.require_pass()


@pytest.mark.metric("p_train")
def test_p_train(verdict: MetricResult) -> None:
    """Images/s of training, less the evaluations."""
    verdict.require_pass()


@pytest.mark.metric("p_core")
def test_p_core(verdict: MetricResult) -> None:
    """Images/s of computing alone: forward, backward with gradient exchange, optimizer."""
    verdict.require_pass()
