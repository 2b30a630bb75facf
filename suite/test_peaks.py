"""What does the device do at most? Copies, memory, matrix products, the model's convolutions: docs/peaks.md."""

from __future__ import annotations

from fixtures.ask.probes import RIGHT, asked_cells, asked_in_full, asked_peaks, parts_of_memory
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import cells_with_the_metric, question


@question("copies", of=asked_cells, phase="probes", enough=RIGHT)
def test_copies(answer: MetricResult) -> None:
    """Host to device and back, pinned and pageable, one device and all at once: the contents, and the rate."""
    answer.require_pass()


@question("memory", of=parts_of_memory, phase="probes", enough=RIGHT)
def test_memory(answer: MetricResult) -> None:
    """Copy and triad of a large part of the memory; patterns written and read back."""
    answer.require_pass()


@question("peak", of=asked_peaks, phase="probes", enough=RIGHT)
def test_peak(answer: MetricResult) -> None:
    """Matrix products in each format of the row, and the model's five heaviest convolutions, forward and backward."""
    answer.require_pass()


@question("sustained", of=asked_in_full, phase="probes")
def test_sustained(answer: MetricResult) -> None:
    """A minute of matrix products on all devices: the last tenth is as fast as the first."""
    answer.require_pass()


@question("gemm", of=cells_with_the_metric, phase="probes")
def test_gemm(verdict: MetricResult) -> None:
    """Matrix products of the slowest device in the row's format, where a number is accepted."""
    verdict.require_pass()


@question("memory_bandwidth", of=cells_with_the_metric, phase="probes")
def test_memory_bandwidth(verdict: MetricResult) -> None:
    """Copy within the memory of the slowest device, where a number is accepted."""
    verdict.require_pass()
