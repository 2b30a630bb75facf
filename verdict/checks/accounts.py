"""Checks that what a run counted and timed adds up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Iterator

from evidence.events.rank import RankEvidence
from evidence.events.training import TrainEnd
from evidence.run_file import UNJUDGED
from verdict.checks.invariants import Case, check, rank_check
from verdict.metrics.statistics import total

if TYPE_CHECKING:
    import numpy as np

LEDGER_TOLERANCE = 0.01
"""Share of the wall time by which the sum of the parts may differ from it."""
TIMER_TOLERANCE = 0.1
"""Share of the training without evaluations by which compute time may differ from other clocks' reading."""
CEILINGS = {"data_wait": 0.5, "copy": 0.25, "checkpoint": 0.25, "bookkeeping": 0.05, "idle": 0.05}
"""Largest share of the training without evaluations that each part of the ledger may have beside compute."""
CEILING_S = {"data_wait": 10.0, "copy": 1.0, "checkpoint": 10.0, "bookkeeping": 1.0, "idle": 1.0}
"""Always allowed: a short training has a share for what is done once (starting loaders), and disks may be busy."""
ORDER_TOLERANCE = 1e-9
"""Relative: rates that differ by rounding only are equal."""
CONSTANT_LOSS_STEPS = 50
"""So many steps with the same loss, to the last bit, are no training."""

_DURATIONS = (
    *("wait_ns", "copy_ns", "compute_ns", "compute_host_ns", "forward_ns"),
    *("read_ns", "span_ns", "span_device_ns"),
)


@rank_check("steps-counted")
def steps_were_counted(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Every rank took at least one step, as many as the other ranks and as it reported."""
    end, windows = rank.train_end, rank.windows.measured
    if end is None:
        return
    if windows.steps < 1 and not rank.nothing_left:
        yield "found no optimizer step, expected at least one: nothing was trained"
    if end.steps != windows.steps:
        yield f"train_end says {end.steps} steps, expected the {windows.steps} in its windows"
    images = int(total(windows.images))
    if end.images != images:
        yield f"train_end says {end.images} images, expected the {images} in its batches"
    first = next(one for one in case.evidence.ranks if one.train_end is not None)
    steps = int(first.windows.size[~first.windows.warmup].sum())
    if windows.steps != steps:
        yield f"found {windows.steps} steps, expected {steps} as on rank {first.rank}"


@rank_check("windows-gapless")
def windows_are_gapless(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Each window begins with the step after the last of the window before, in warm-up and in training."""
    for windows in (rank.windows.measured, rank.windows.select(rank.windows.warmup)):
        expected = windows.step[:-1] + windows.size[:-1]
        wrong = (windows.step[1:] != expected).nonzero()[0]
        if len(wrong):
            at = wrong[0]
            yield f"found a window from step {windows.step[at + 1]}, expected step {expected[at]}"


@rank_check("epochs-counted")
def epochs_were_counted(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Each epoch had the steps that were planned, and the steps and images of its windows."""
    windows = rank.windows.measured
    for epoch in rank.epochs:
        where = f"epoch {epoch.epoch + 1}:"
        chosen = windows.select(windows.epoch == epoch.epoch)
        if epoch.steps != epoch.planned_steps:
            yield f"{where} found {epoch.steps} steps, expected the {epoch.planned_steps} planned in epoch_begin"
        if epoch.steps != chosen.steps:
            yield f"{where} epoch_end says {epoch.steps} steps, expected the {chosen.steps} in its windows"
        images = int(total(chosen.images))
        if epoch.images != images:
            yield f"{where} epoch_end says {epoch.images} images, expected the {images} in its batches"


@rank_check("batch-size")
def batches_fit(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Every batch has at least one image and at most the cell's batch size."""
    largest, images = case.cell.batch_size, rank.windows.images
    step = _first_step(rank, (images < 1) | (images > largest))
    if step is not None:
        found = images[step[0]]
        yield f"step {step[1]}: found a batch of {found} images, expected 1 to {largest}"


@rank_check("learning-rate")
def learning_rate_is_the_cells(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Every step had a learning rate above 0 and at most the cell's."""
    highest, rates = case.cell.learning_rate, rank.windows.lr
    wrong = ((rates <= 0) | (rates > highest * (1 + 1e-6))).nonzero()[0]
    if len(wrong):
        found, step = rates[wrong[0]], rank.windows.step[wrong[0]]
        yield f"step {step}: found learning rate {found:g}, expected above 0, at most {highest:g}"


@rank_check("loss-finite")
def losses_are_finite(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Every loss is finite: a diverged model is another, often faster, workload."""
    loss = rank.windows.loss
    step = _first_step(rank, ~(abs(loss) < math.inf))
    if step is not None:
        yield f"step {step[1]}: found loss {loss[step[0]]}, expected a finite one: it diverged"


@rank_check("loss-changes")
def losses_change(case: Case, rank: RankEvidence) -> Iterator[str]:
    """The loss is not the same, to the last bit, for 50 steps in a row."""
    loss = rank.windows.loss
    longest, at = _longest_run(loss)
    if longest >= CONSTANT_LOSS_STEPS:
        yield (
            f"found loss {loss[at]} on {longest} steps in a row, expected it to change within "
            f"{CONSTANT_LOSS_STEPS}: nothing was trained"
        )


@rank_check("durations")
def durations_are_possible(case: Case, rank: RankEvidence) -> Iterator[str]:
    """No duration is negative or longer than what contains it."""
    windows = rank.windows
    negative = [name for name in (*_DURATIONS, "wall_ns") if (getattr(windows, name) < 0).any()]
    for name in negative:
        yield f"found {name} {getattr(windows, name).min()}, expected 0 or more"
    measured = windows.measured
    wall_s, compute_s = total(measured.wall_ns) / 1e9, total(measured.compute_ns) / 1e9
    if compute_s > wall_s * (1 + LEDGER_TOLERANCE):
        yield f"found {compute_s:.3f} s of compute, expected at most the windows' {wall_s:.3f} s"
    for end, train_s in _training(rank):
        free_s = train_s - end.ledger["evaluation_ns"] / 1e9
        if wall_s > free_s + LEDGER_TOLERANCE * train_s:
            yield f"found windows of {wall_s:.3f} s, expected at most the {free_s:.3f} s of training without evaluation"


@rank_check("compute-synchronised")
def compute_was_waited_for(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Compute time is no shorter than what the host's clock and the ledger measured of it.

    A timer that stops before the device has finished, or counts in another unit, makes a device look fast.
    """
    measured = rank.windows.measured
    compute_s, host_s = total(measured.compute_ns) / 1e9, total(measured.compute_host_ns) / 1e9
    for end, train_s in _training(rank):
        slack_s = TIMER_TOLERANCE * (train_s - end.ledger["evaluation_ns"] / 1e9)
        for what, seen_s in (("host clock", host_s), ("ledger", end.ledger["compute_ns"] / 1e9)):
            if compute_s < seen_s - slack_s:
                yield (
                    f"found {compute_s:.3f} s of compute, expected about the {seen_s:.3f} s that "
                    f"the {what} saw, or more"
                )


@rank_check("time-ledger")
def ledger_adds_up(case: Case, rank: RankEvidence) -> Iterator[str]:
    """The parts of the time ledger sum to the wall time within 1 %, and its evaluation to that of the events."""
    for end, train_s in _training(rank):
        for name, part_ns in end.ledger.items():
            if part_ns < 0:
                yield f"ledger: found {name} {part_ns}, expected 0 or more"
        booked_s = sum(end.ledger.values()) / 1e9
        if abs(booked_s - train_s) > LEDGER_TOLERANCE * train_s:
            yield (
                f"ledger: found {booked_s:.3f} s in its parts, expected the {train_s:.3f} s "
                f"between train_begin and train_end within {LEDGER_TOLERANCE:.0%}"
            )
        begin_ns = rank.train_begin_ns or 0
        inside = [one for one in rank.evaluations if begin_ns <= one.begin_ns and one.end_ns <= end.t_ns]
        seen_s = sum(one.end_ns - one.begin_ns for one in inside) / 1e9
        booked_s = end.ledger["evaluation_ns"] / 1e9
        if abs(booked_s - seen_s) > LEDGER_TOLERANCE * train_s:
            yield (
                f"ledger: found {booked_s:.3f} s of evaluation, expected the {seen_s:.3f} s "
                "between eval_begin and eval_end"
            )


@rank_check("ledger-shares")
def ledger_is_mostly_compute(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Of a training without its evaluations at most 50 % is data wait, 25 % copies, 25 % checkpoints, 5 % bookkeeping.

    What a device does in the time of another part is in no rate: one that hardly computes is not shown at work. A smoke
    run, of some seconds on a host that may be busy, shows no rate.
    """
    if case.protocol in UNJUDGED:
        return
    for end, train_s in _training(rank):
        free_s = train_s - end.ledger["evaluation_ns"] / 1e9
        for part, share in CEILINGS.items():
            found_s = end.ledger[f"{part}_ns"] / 1e9
            if free_s > 0 and found_s > max(CEILING_S[part], share * free_s):
                yield (
                    f"ledger: found {found_s:.1f} s of {part.replace('_', ' ')}, {found_s / free_s:.0%} of the "
                    f"{free_s:.1f} s of training without evaluation, expected at most {share:.0%}"
                )


@rank_check("times-ordered")
def times_are_ordered(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Training took time, and no more than e2e_time."""
    whole = case.measurements.get("e2e_time")
    for _, train_s in _training(rank):
        if train_s <= 0:
            yield f"found a training of {train_s} s, expected train_begin before train_end"
        if whole is not None and whole.value < train_s:
            yield f"found e2e_time {whole.value} s, expected at least its training, {train_s} s"


@check("rates-ordered")
def rates_are_ordered(case: Case) -> Iterator[str]:
    """p_core >= p_train >= p_whole > 0."""
    names = [name for name in ("p_core", "p_train", "p_whole") if name in case.measurements]
    values = [case.measurements[name].value for name in names]
    for faster, slower, higher, lower in zip(names, names[1:], values, values[1:]):
        if not higher >= lower * (1 - ORDER_TOLERANCE):
            yield f"found {faster} {higher:.6g} images/s, expected at least {slower} {lower:.6g} images/s"
    for name, value in zip(names, values):
        if not value > 0:
            yield f"found {name} {value} images/s, expected more than 0"


def _training(rank: RankEvidence) -> Iterator[tuple[TrainEnd, float]]:
    """(train_end, wall time of the training in s), where the rank reported both ends."""
    if rank.train_begin_ns is not None and rank.train_end is not None:
        yield rank.train_end, (rank.train_end.t_ns - rank.train_begin_ns) / 1e9


def _first_step(rank: RankEvidence, wrong: np.ndarray) -> tuple[int, int] | None:
    """(index in the columns, index of the step) of the first step for which `wrong` is true."""
    found = wrong.nonzero()[0]
    if not len(found):
        return None
    index, windows = int(found[0]), rank.windows
    ends = windows.size.cumsum()
    window = int((ends <= index).sum())
    return index, int(windows.step[window] + index - (ends[window] - windows.size[window]))


def _longest_run(values: np.ndarray) -> tuple[int, int]:
    """(length, first index) of the longest run of equal values."""
    import numpy as np

    if not len(values):
        return 0, 0
    borders = np.concatenate(([0], (values[1:] != values[:-1]).nonzero()[0] + 1, [len(values)]))
    lengths = borders[1:] - borders[:-1]
    return int(lengths.max()), int(borders[lengths.argmax()])
