"""Does training on the device reach the accuracy that the vendor publishes, and as soon as it should?"""

from __future__ import annotations

from fixtures.ask.runs import MetricResult
from fixtures.select.registry import cells_with_the_metric, question


@question("map", of=cells_with_the_metric)
def test_map(verdict: MetricResult) -> None:
    """COCO box AP@[.50:.95] on val2017 after training."""
    verdict.require_pass()


@question("epochs_to_target", of=cells_with_the_metric)
def test_epochs_to_target(verdict: MetricResult) -> None:
    """Epochs until an evaluation reached the target mAP, where a number is known: neither too many nor too few."""
    verdict.require_pass()
