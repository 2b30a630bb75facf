"""Do devices that work together keep the speed that they have alone, and is none of them waited for?"""

from __future__ import annotations

from fixtures.ask.comparisons import cells_of_several_ranks, neighbouring_topologies
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import ANSWERED, question


@question("efficiency", of=neighbouring_topologies, enough=ANSWERED)
def test_efficiency(efficiency: MetricResult) -> None:
    """p_core a device, of a topology over the next smaller one: as much of it is left as the published numbers say."""
    efficiency.require_pass()


@question("skew", of=cells_of_several_ranks, enough=ANSWERED)
def test_skew(skew: MetricResult) -> None:
    """No rank's forward passes, in which none waits for another, take longer than its siblings'."""
    skew.require_pass()
