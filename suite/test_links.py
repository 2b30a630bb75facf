"""Do the links between devices and hosts carry what they should, and how fast? docs/links.md."""

from __future__ import annotations

from fixtures.ask.probes import several_ranks
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import cells_with_the_metric, question


@question("collective_results", of=several_ranks, phase="probes")
def test_collective_results(answer: MetricResult) -> None:
    """All-reduce, broadcast, all-gather, reduce-scatter and all-to-all of integers are exact at every size."""
    answer.require_pass()


@question("buckets", of=several_ranks, phase="probes")
def test_buckets(answer: MetricResult) -> None:
    """Each of DDP's buckets was exchanged, with its time and bus bandwidth."""
    answer.require_pass()


@question("bus_bandwidth", of=cells_with_the_metric, phase="probes")
def test_bandwidth(verdict: MetricResult) -> None:
    """Bus bandwidth of the all-reduce at the largest size, where a number is published or accepted."""
    verdict.require_pass()


@question("latency", of=several_ranks, phase="probes")
def test_latency(answer: MetricResult) -> None:
    """Time over size is a line: no size takes longer than a larger one."""
    answer.require_pass()


@question("pairs", of=several_ranks, phase="probes")
def test_pairs(answer: MetricResult) -> None:
    """No pair of devices of a host, or of hosts, falls behind the others or below what is published."""
    answer.require_pass()
