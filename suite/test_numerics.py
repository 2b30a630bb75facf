"""Does the device compute what it should? Each operator, beside an fp64 reference on the host: docs/numerics.md."""

from __future__ import annotations

from fixtures.ask.numerics import asked_operators, repeatable_cells
from fixtures.ask.probes import asked_cells
from fixtures.ask.runs import MetricResult
from fixtures.select.registry import question


@question("operators", of=asked_operators, phase="probes")
def test_operator(operator_result: MetricResult) -> None:
    """Every answer of every rank's device is within the bound of its rule; the worst size is named."""
    operator_result.require_pass()


@question("blocks", of=asked_operators, phase="probes")
def test_blocks(operator_result: MetricResult) -> None:
    """Convolution, frozen batch norm and relu together, which a compiling framework may fuse."""
    operator_result.require_pass()


@question("fp32_is_fp32", of=asked_operators, phase="probes")
def test_fp32_is_fp32(operator_result: MetricResult) -> None:
    """Products of fp32 keep all bits of their inputs; those of TF32 only where the row says so."""
    operator_result.require_pass()


@question("special_values", of=asked_operators, phase="probes")
def test_special_values(operator_result: MetricResult) -> None:
    """NaN and infinity come out where they have to; denormals are recorded."""
    operator_result.require_pass()


@question("ties", of=asked_operators, phase="probes")
def test_ties(operator_result: MetricResult) -> None:
    """Of equal scores any may come first, but the answer is right, and the same each time."""
    operator_result.require_pass()


@question("repeatable", of=asked_cells("numerics"), phase="probes")
def test_repeatable(repeats: MetricResult) -> None:
    """Every operator gives the same bits 21 times, but for those whose kernels may add up in any order."""
    repeats.require_pass()


@question("devices_agree", of=asked_cells("numerics", least_ranks=2), phase="probes")
def test_devices_agree(agreement: MetricResult) -> None:
    """All devices of a kind give the same bits; one that does not is named."""
    agreement.require_pass()


@question("gradients", of=asked_cells("numerics"), phase="probes")
def test_gradients(gradients: MetricResult) -> None:
    """Every gradient of one whole step, with proposals and samples given, is as near to fp64 as honest arithmetic."""
    gradients.require_pass()


@question("trajectory", of=asked_cells("numerics"), phase="probes")
def test_trajectory(trajectory: MetricResult) -> None:
    """The loss over 20 steps stays within 3 times the spread of fp32 on the CPU."""
    trajectory.require_pass()


@question("replayed_step", of=repeatable_cells, phase="probes")
def test_replayed_step(replayed_step: MetricResult) -> None:
    """A step taken again from the same state gives the same bits, where nothing in it may add up in any order."""
    replayed_step.require_pass()
