"""Checks that something was trained: parameters move alike on all ranks, every step has gradients, the loss falls."""

from __future__ import annotations

import statistics
from typing import Iterator

from evidence.events.rank import RankEvidence
from verdict.checks.invariants import Case, check, rank_check
from verdict.checks.workload import end_losses
from verdict.metrics.throughput import window_sums

MOVING_STEPS = 20
"""After so many steps every trained tensor has changed in at least one bit."""
FALLING_STEPS = 100
"""After so many steps the loss is lower than at the beginning, at the rates of a linear warm-up too."""
LEAST_BACKWARD = 0.05
"""Share of the compute time that is not the forward pass.

Where arithmetic takes the time it is 64 %: the backward pass of R50-FPN with stem and layer1 frozen has 1.8 times the
FLOPs of the forward pass (torch's FlopCounterMode). Where a slow host's kernel launches take it, the forward pass is
the longer one: RPN, NMS and sampling have kernels for each image, and no backward. torch 2.15 dispatches 761 kernels
and 172 an image forward, 252 backward: 6.7 % backward at 16 images, on a device that computes in no time. Without a
backward pass an optimizer step over 41 M parameters is left at most, 1 GB of memory traffic: 1 ms of the 80 ms that
the A100's published p_core at batch size 2 comes to.
"""
FORWARD_TIMED = ("device_events", "synchronised")
"""Methods of timing that know what the device took for the forward pass; by windows the host's time is known only."""
STALE_WINDOWS = 3
"""The gradients of so many windows in a row do not have the same norm to the last bit."""
LEAST_SCALE = 1.0
"""GradScaler begins at 65,536 and halves the scale at each overflow; below 1 the loss is not scaled up any more."""


@rank_check("parameters-move")
def parameters_move(case: Case, rank: RankEvidence) -> Iterator[str]:
    """The trained parameters changed whenever steps were taken, and every one of their tensors by the end."""
    import numpy as np

    found, windows = rank.parameters, rank.windows
    if not rank.shows_work or rank.train_end is None:
        return
    if windows.steps:
        trained = np.add.reduceat(windows.trained, windows.size.cumsum() - windows.size) > 0
        still = ((windows.moved == 0) & trained).nonzero()[0]
        if len(still):
            yield (
                f"window of step {windows.step[still[0]]}: found the parameters as they were before its "
                f"{windows.size[still[0]]} steps, expected them to change: nothing was trained"
            )
            return
    if len(found) < 2:
        yield f"found {len(found)} 'parameters' events, expected one before training and one after it"
        return
    first, last = found[0], found[-1]
    if (first.steps, last.steps) != (0, windows.steps):
        yield f"found parameters of steps {first.steps} to {last.steps}, expected 0 to {windows.steps}"
    for before, after in zip(found, found[1:]):
        changed = (windows.trained[before.steps : after.steps] > 0).any()
        if changed and before.sha256 == after.sha256:
            yield (
                f"the parameters after step {after.steps} are those after step {before.steps} to the last bit, "
                "expected them to change: nothing was trained"
            )
            return
        if after.steps == before.steps and before.sha256 != after.sha256:
            yield f"the parameters after step {after.steps} are of two kinds, expected them to change by steps only"
    if (windows.trained > 0).sum() >= MOVING_STEPS and last.moved < last.tensors:
        names = ", ".join(last.unmoved)
        yield (
            f"found {last.tensors - last.moved} of {last.tensors} trained tensors as they were before training "
            f"({names}{', ...' if last.tensors - last.moved > len(last.unmoved) else ''}), expected every one to change"
        )


@check("parameters-equal")
def parameters_are_equal(case: Case) -> Iterator[str]:
    """All ranks had the same parameters before training, at every checkpoint and after training."""
    ranks = [rank for rank in case.evidence.ranks if rank.parameters]
    for rank in ranks[1:]:
        first = ranks[0]
        if [one.steps for one in rank.parameters] != [one.steps for one in first.parameters]:
            yield f"rank {rank.rank}: found parameters of other steps than on rank {first.rank}, expected the same"
            continue
        for one, other in zip(rank.parameters, first.parameters):
            if one.sha256 != other.sha256:
                rounding = _rounding(rank, first) if one.steps else ""
                yield (
                    f"rank {rank.rank}: the parameters after step {one.steps} are not those of rank {first.rank}, "
                    f"expected the same to the last bit: the ranks do not exchange their gradients{rounding}"
                )
                break


def _rounding(rank: RankEvidence, first: RankEvidence) -> str:
    """Return what else makes ranks of two hosts differ; optimizers are elementwise, so on one host nothing does."""
    hosts = [one.start.host for one in (rank, first) if one.start is not None]
    if len(set(hosts)) < 2:
        return ""
    return (
        f", or the optimizer rounds differently on {hosts[0]} and {hosts[1]}, as kernels for another instruction set "
        "(CPU), device model or library version do: expected hosts that are alike"
    )


@rank_check("gradients")
def every_step_has_gradients(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Every step had a backward pass, and the gradients a norm that is finite, above 0 and not always the same."""
    import numpy as np

    windows = rank.windows
    if not rank.shows_work or not windows.steps:
        return
    lacking = (windows.backward_steps != windows.size).nonzero()[0]
    if len(lacking):
        at = lacking[0]
        found, steps = max(0, windows.backward_steps[at]), windows.size[at]
        yield (
            f"window of step {windows.step[at]}: found gradients in {found} of {steps} steps, expected them in every "
            "one: backward passes are missing"
        )
        return
    norms = windows.gradient_norm
    # A GradScaler skips a step because its gradients are not finite.
    skipped = windows.trained[windows.size.cumsum() - 1] == 0
    wrong = (~(np.isfinite(norms) & (norms > 0)) & ~skipped).nonzero()[0]
    if len(wrong):
        at = wrong[0]
        yield f"window of step {windows.step[at]}: found gradients of norm {norms[at]}, expected a finite one above 0"
    same = (norms[1:] == norms[:-1]).astype(int)
    for at in range(len(same) - STALE_WINDOWS + 2):
        if same[at : at + STALE_WINDOWS - 1].all() and len(same) >= STALE_WINDOWS - 1:
            yield (
                f"windows of step {windows.step[at]} and after: found gradients of norm {norms[at]} in "
                f"{STALE_WINDOWS} windows in a row, expected them to change: they are not computed anew"
            )
            break


@rank_check("backward-share")
def backward_takes_its_time(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Backward pass and optimizer took at least a 20th of the compute time, where the device's time is known."""
    windows = rank.windows.measured
    if rank.start is None or rank.start.timing not in FORWARD_TIMED or not windows.steps:
        return
    # The median: a stall within a forward pass is of one window.
    shares = windows.forward_ns / window_sums(windows, windows.compute_ns).clip(1)
    share = 1 - statistics.median(shares.tolist())
    if share < LEAST_BACKWARD:
        yield (
            f"found {share:.1%} of the compute time after the forward pass, expected at least {LEAST_BACKWARD:.0%}: "
            "steps without a backward pass are another workload"
        )


@rank_check("loss-falls")
def loss_falls(case: Case, rank: RankEvidence) -> Iterator[str]:
    """The loss at the end is below that at the beginning, unless the run is short or was resumed."""
    loss = rank.windows.loss
    if len(loss) < FALLING_STEPS or rank.resumed is not None:
        return
    first, last = end_losses(loss)
    if not last < first:
        yield (
            f"the loss went from {first:.4g} at the beginning to {last:.4g} at the end of {len(loss)} steps, expected "
            "it to fall: nothing was learned"
        )


@rank_check("loss-scale")
def loss_scale_holds(case: Case, rank: RankEvidence) -> Iterator[str]:
    """amp: the loss scale did not collapse, and not every step of a window was skipped."""
    windows = rank.windows
    if not windows.steps:
        return
    low = (windows.loss_scale < LEAST_SCALE).nonzero()[0]
    skipped = int((windows.trained == 0).sum())
    if len(low):
        yield (
            f"window of step {windows.step[low[0]]}: found loss scale {windows.loss_scale[low[0]]:.3g}, expected "
            f"{LEAST_SCALE:g} or more: gradients overflow at any scale, and {skipped} of {windows.steps} steps "
            "changed no weights"
        )
        return
    idle = (window_sums(windows, windows.trained) == 0).nonzero()[0]
    if len(idle):
        yield (
            f"window of step {windows.step[idle[0]]}: found all of its {windows.size[idle[0]]} steps skipped, expected "
            "some that change the weights"
        )
