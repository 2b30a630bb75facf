"""Does the device compute what it should? Each operator, beside an fp64 reference on the host: docs/numerics.md."""

from __future__ import annotations

from fixtures.ask.probes import asked_cells, asked_operators, repeatable_cells, several_ranks
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import question


@question("operators", of=asked_operators, phase="probes")
def test_operator(answer: MetricResult) -> None:
    """Every answer of every rank's device is within the bound of its rule; the worst size is named."""
    answer.require_pass()


@question("blocks", of=asked_operators, phase="probes")
def test_blocks(answer: MetricResult) -> None:
    """Convolution, frozen batch norm and relu together, which a compiling framework may fuse."""
    answer.require_pass()


@question("fp32_is_fp32", of=asked_operators, phase="probes")
def test_fp32_is_fp32(answer: MetricResult) -> None:
    """Products of fp32 keep all bits of their inputs; those of TF32 only where the row says so."""
    answer.require_pass()


@question("special_values", of=asked_operators, phase="probes")
def test_special_values(answer: MetricResult) -> None:
    """NaN and infinity come out where they have to; denormals are recorded."""
    answer.require_pass()


@question("ties", of=asked_operators, phase="probes")
def test_ties(answer: MetricResult) -> None:
    """Of equal scores any may come first, but the answer is right, and the same each time."""
    answer.require_pass()


@question("repeatable", of=asked_cells, phase="probes")
def test_repeatable(answer: MetricResult) -> None:
    """Every operator gives the same bits 21 times, but for those whose kernels may add up in any order."""
    answer.require_pass()


@question("devices_agree", of=several_ranks, phase="probes")
def test_devices_agree(answer: MetricResult) -> None:
    """All devices of a kind give the same bits; one that does not is named."""
    answer.require_pass()


@question("gradients", of=asked_cells, phase="probes")
def test_gradients(answer: MetricResult) -> None:
    """Every gradient of one whole step, with proposals and samples given, is as near to fp64 as honest arithmetic."""
    answer.require_pass()


@question("trajectory", of=asked_cells, phase="probes")
def test_trajectory(answer: MetricResult) -> None:
    """The loss over 20 steps stays within 3 times the spread of fp32 on the CPU."""
    answer.require_pass()


@question("replayed_step", of=repeatable_cells, phase="probes")
def test_replayed_step(answer: MetricResult) -> None:
    """A step taken again from the same state gives the same bits, where nothing in it may add up in any order."""
    answer.require_pass()
