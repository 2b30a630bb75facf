"""Does the device train as many images a second as the vendor publishes?"""

from __future__ import annotations

from fixtures.ask.probes import asked_cells
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import ANSWERED, cells_with_the_metric, question


@question("p_whole", of=cells_with_the_metric)
def test_p_whole(verdict: MetricResult) -> None:
    """Images/s from the start of training to its end, evaluations included."""
    verdict.require_pass()


@question("p_train", of=cells_with_the_metric)
def test_p_train(verdict: MetricResult) -> None:
    """Images/s of training, less the evaluations."""
    verdict.require_pass()


@question("p_core", of=cells_with_the_metric)
def test_p_core(verdict: MetricResult) -> None:
    """Images/s of computing alone: forward, backward with gradient exchange, optimizer."""
    verdict.require_pass()


@question("explained", of=asked_cells, enough=ANSWERED)
def test_explained(answer: MetricResult) -> None:
    """Why p_core is what it is, against the device's own peaks; the largest loss in words (docs/peaks.md). Recorded."""
    answer.require_pass()
