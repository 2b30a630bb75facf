"""Checks that a run did what its protocol prescribes from begin to end, after a restart too."""

from __future__ import annotations

import math
import statistics
from typing import Iterable, Iterator, Mapping, Sequence

from evidence.events.rank import RankEvidence
from evidence.events.training import evaluation_name
from evidence.run_file import BY_STEPS, PROBES, PROTOCOLS
from expected import ALL_METRICS
from verdict.checks.invariants import Case, check, note, rank_check
from verdict.metrics.activity import THROTTLED_SHARE, throttled
from verdict.metrics.measure import last_evaluation, parts, protocol_metrics
from verdict.metrics.memory import unwatched
from verdict.metrics.throughput import STEADY_MIN_STEPS, by_window, window_sums

STEADY_WITHIN = 0.10
"""Share by which a tenth of the steps at the beginning may differ from a quarter at the end."""

SCORERS_MAY_DIFFER = 1e-9
"""Largest difference to pycocotools' statistics; sums in another order differ by about 1e-16."""

_REFERENCE_SCORER = "pycocotools"

_REASONS: Mapping[str, Sequence[str]] = {
    "full": ("target", "last_epoch"),
    "epoch": ("last_epoch",),
    **dict.fromkeys(BY_STEPS, ("steps",)),
    PROBES: (PROBES,),
}


@check("protocol-known")
def protocol_is_known(case: Case) -> Iterator[str]:
    """The protocol is a known one: full, epoch, steady, smoke or probes."""
    run = case.evidence.run
    if run is not None and run.protocol not in PROTOCOLS:
        yield f"run.json: found protocol {run.protocol}, expected one of {', '.join(PROTOCOLS)}"


@check("resumed-position")
def last_attempt_goes_on(case: Case) -> Iterator[str]:
    """All ranks of a restarted run resumed from one position, and did exactly what was left."""
    run, ranks = case.evidence.run, case.evidence.ranks
    if run is None:
        return
    for rank in ranks:
        if rank.resumed is not None and (not run.restarts or run.protocol not in ("full", "epoch")):
            yield f"rank {rank.rank}: found a 'resumed' event, expected none in this run"
        if _place(rank) != _place(ranks[0]):
            other = f"{_place(ranks[0])} as on rank {ranks[0].rank}"
            yield f"rank {rank.rank}: went on from {_place(rank)}, expected {other}"
    if not run.restarts or run.protocol not in ("full", "epoch"):
        return
    for rank in ranks:
        yield from _position_adds_up(rank)
        windows = rank.windows.measured
        first = 0 if rank.resumed is None else rank.resumed.first_step
        if windows.steps and windows.step[0] != first:
            yield f"rank {rank.rank}: found step {windows.step[0]} as the first, expected step {first}"


@rank_check("windows-in-training")
def windows_lie_in_training(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Warm-up steps come before training, and under steady and smoke only; all others lie within training."""
    windows = rank.windows
    if case.protocol not in BY_STEPS and windows.warmup.any():
        yield f"found warm-up windows, expected none under protocol {case.protocol}"
    if rank.train_begin_ns is None or rank.train_end is None:
        return
    outside = (windows.t_ns < rank.train_begin_ns) | (windows.t_ns > rank.train_end.t_ns)
    for kind, wrong, where in (
        ("warm-up", windows.warmup & (windows.t_ns > rank.train_begin_ns), "before train_begin"),
        ("measured", ~windows.warmup & outside, "between train_begin and train_end"),
    ):
        if wrong.any():
            step = windows.step[wrong.argmax()]
            yield f"found the {kind} window of step {step} elsewhere, expected it {where}"


@check("epochs-complete", at_end=True)
def epochs_are_complete(case: Case) -> Iterator[str]:
    """full: every epoch from the first to the last; epoch: exactly one; each step belongs to one of them.

    A resumed attempt has those from its position on.
    """
    run = case.evidence.run
    if run is None or run.protocol not in ("full", "epoch"):
        return
    most = case.cell.recipe.epochs if run.protocol == "full" else 1
    if run.protocol == "full" and (run.epochs is None or not 1 <= run.epochs <= most):
        yield f"run.json: found a limit of {run.epochs} epochs, expected 1 to the recipe's {most}"
    for rank in case.evidence.ranks:
        done, first = [epoch.epoch for epoch in rank.epochs], rank.first_epoch
        missing = not done and not rank.nothing_left
        if missing or first + len(done) > most or done != list(range(first, first + len(done))):
            expected = "epoch 1 alone" if most == 1 else f"1, 2, 3, ... up to {most} epochs"
            expected = f"{first + 1} and those after it, up to {most} epochs" if first else expected
            yield f"rank {rank.rank}: found the epochs {_from_1(done)} completed, expected {expected}"
        foreign = sorted(set(rank.windows.epoch.tolist()) - set(done))
        if foreign:
            found = _from_1(foreign[:4])
            yield f"rank {rank.rank}: found steps of epochs {found}, expected steps of completed epochs only"


@rank_check("evaluations-made", at_end=True)
def evaluations_took_place(case: Case, rank: RankEvidence) -> Iterator[str]:
    """full: one before training and one after every epoch; epoch, smoke: one after it; steady, probes: none."""
    protocol = case.protocol
    if protocol not in PROTOCOLS:
        return
    found = [evaluation.epoch for evaluation in rank.evaluations]
    # Owed from before: under full the evaluation of the initial weights, and the one that an attempt broke off in.
    owed = [-1] if protocol == "full" and rank.resumed is None else []
    if rank.resumed is not None and rank.nothing_left:
        owed = [rank.resumed.epoch]
    at_the_end = [0] if protocol == "smoke" else [epoch.epoch for epoch in rank.epochs]
    expected = [] if protocol == "steady" else [*owed, *at_the_end]
    if protocol == "epoch" and found[:1] == [-1]:
        found = found[1:]  # before training, so nothing that this protocol measures contains it
    if found != expected:
        yield f"found evaluations after epochs {_from_1(found)}, expected {_from_1(expected)} (0: before training)"
    if rank.train_begin_ns is None or rank.train_end is None:
        return
    for one in rank.evaluations:
        if one.epoch < 0 and one.end_ns > rank.train_begin_ns:
            yield "found the initial evaluation in training, expected it before"
        if one.epoch >= 0 and not (rank.train_begin_ns <= one.begin_ns and one.end_ns <= rank.train_end.t_ns):
            yield f"found the {evaluation_name(one.epoch)} outside of training, expected it within"


@check("evaluations-complete")
def evaluations_saw_all_images(case: Case) -> Iterator[str]:
    """Each evaluation saw every image of the validation set once, and its mAP lies from 0 to 1."""
    ranks = case.evidence.ranks
    for rank in ranks:
        if rank.rank != 0:
            continue
        known = {data.val_images for data in rank.data}
        for index, evaluation in enumerate(rank.evaluations):
            where = f"rank 0: {evaluation_name(evaluation.epoch)}:"
            found, expected = evaluation.images_total, evaluation.images_expected
            shares = sum(one.evaluations[index].images for one in ranks if index < len(one.evaluations))
            if found is None or expected is None or found != expected or found < 1:
                yield f"{where} found {found} images in total, expected the {expected} of the validation set"
            elif found != shares:
                yield f"{where} found {found} images in total, expected the {shares} that the ranks looked at"
            elif known != {found}:
                yield f"{where} found {found} images in total, expected as many as were loaded, {known or 'unknown'}"
            score = evaluation.map
            if score is None or not 0 <= score <= 1:
                yield f"{where} found map {score}, expected a number from 0 to 1"


@check("map-by-pycocotools", at_end=True)
def map_is_pycocotools(case: Case) -> Iterator[str]:
    """If another library scored the evaluation that ends a full run, pycocotools agreed to 1e-9."""
    evaluations = [one for rank in case.evidence.ranks if rank.rank == 0 for one in rank.evaluations]
    for one in evaluations:
        where = f"rank 0: {evaluation_name(one.epoch)}:"
        if one.checked_map is not None or one.check_difference is not None:
            scores = (one.map, one.checked_map, one.check_difference)
            found, checked, apart = (math.nan if value is None else value for value in scores)
            if not (0 <= apart <= SCORERS_MAY_DIFFER and abs(found - checked) <= SCORERS_MAY_DIFFER):
                yield (
                    f"{where} found map {found} by {one.scorer}, {checked} by {_REFERENCE_SCORER}, and {apart} between "
                    f"two of their statistics, expected at most {SCORERS_MAY_DIFFER}; switch fast_scoring off"
                )
        elif one is evaluations[-1] and case.protocol == "full" and _has_to_be_checked(one.scorer, case):
            yield (
                f"{where} found map {one.map} by {one.scorer} alone, expected {_REFERENCE_SCORER} to have scored it "
                "too, since the run ended with it"
            )


def _has_to_be_checked(scorer: str | None, case: Case) -> bool:
    if scorer is None:
        # Runs without a scorer are older than other scorers, unless their own ledger has fast_scoring on.
        return any(one.on and one.name == "fast_scoring" for rank in case.evidence.ranks for one in rank.optimizations)
    return scorer.split()[:1] != [_REFERENCE_SCORER]


@check("end-reached")
def end_was_reached(case: Case) -> Iterator[str]:
    """Every rank ended for the same reason, and what it did agrees with that reason."""
    run, recipe = case.evidence.run, case.cell.recipe
    ended = [(rank, rank.end.reason) for rank in case.evidence.ranks if rank.end is not None]
    for rank, reason in ended:
        done = rank.first_epoch + len(rank.epochs)
        if reason != ended[0][1]:
            yield f"rank {rank.rank}: ended for reason {reason}, expected {ended[0][1]} as on rank {ended[0][0].rank}"
        allowed = _REASONS.get(case.protocol, ())
        if allowed and reason not in allowed:
            yield f"rank {rank.rank}: ended for reason {reason}, expected {' or '.join(allowed)}"
        if run is not None and run.protocol == "full" and reason == "last_epoch" and done != run.epochs:
            yield f"rank {rank.rank}: ended after the last epoch with {done} epochs, expected {run.epochs}"
    if case.protocol != "full" or not ended:
        return
    last = last_evaluation(case.evidence)
    score = math.nan if last is None or last.map is None or last.epoch < 0 else last.map
    if ended[0][1] == "target" and not score >= recipe.target_map:
        yield f"rank 0: ended at map {score:.4f} for reason target, expected at least {recipe.target_map}"
    for evaluation in case.evidence.ranks[0].evaluations[:-1]:
        if evaluation.epoch >= 0 and evaluation.map is not None and evaluation.map >= recipe.target_map:
            yield (
                f"rank 0: map {evaluation.map:.4f} after epoch {evaluation.epoch + 1} had reached the target "
                f"{recipe.target_map}, expected the run to end there"
            )


@check("steady-steps", at_end=True)
def steady_steps_were_taken(case: Case) -> Iterator[str]:
    """A steady or smoke run measured as many steps as it was asked to."""
    run = case.evidence.run
    if run is None or run.protocol not in BY_STEPS:
        return
    if run.steps is None or run.steps < 1:
        yield f"run.json: found steps {run.steps}, expected the number of steps to measure"
        return
    for rank in case.evidence.ranks:
        steps = rank.windows.measured.steps
        if steps != run.steps:
            yield f"rank {rank.rank}: found {steps} measured steps, expected the {run.steps} asked for"


@rank_check("steady-state")
def steady_state_was_reached(case: Case, rank: RankEvidence) -> Iterator[str]:
    """Under steady, steps at the beginning and at the end take equally long within 10 %."""
    windows = rank.windows.measured
    if case.protocol != "steady" or windows.steps < STEADY_MIN_STEPS:
        return  # with so few steps rates are not judged
    first, last = windows.steps // 10, windows.steps // 4
    images, compute_ns = windows.images, windows.compute_ns
    if by_window(rank):  # a step's own time is not known
        images, compute_ns = window_sums(windows, images), window_sums(windows, compute_ns)
    parts = slice(None, max(1, len(images) // 10)), slice(-max(1, len(images) // 4), None)
    # Medians: a stall now and then is the device's rate, not its way to a steady state.
    batch_ms = compute_ns / images.clip(1) * (case.cell.batch_size / 1e6)
    step_ms = [statistics.median(batch_ms[part].tolist()) for part in parts]
    if abs(step_ms[0] - step_ms[1]) > STEADY_WITHIN * step_ms[1]:
        yield (
            f"the first {first} measured steps took {step_ms[0]:.1f} ms a batch, the last {last} took {step_ms[1]:.1f} "
            f"ms, expected them within {STEADY_WITHIN:.0%}: the device was not in a steady state; warm it up for "
            "longer, or cool it"
        )


@check("not-throttled")
def no_device_was_throttled(case: Case) -> Iterator[str]:
    """No device was throttled in more than 1 % of the training, by its telemetry ([telemetry.md](telemetry.md))."""
    for one in () if case.protocol == PROBES else throttled(case.evidence):
        if one.share > THROTTLED_SHARE:
            yield f"{one}, expected at most {THROTTLED_SHARE:.0%}"


@note
def throttling_that_was_short(case: Case) -> Iterator[str]:
    """The devices that were throttled in so little of the training that it decides nothing."""
    if case.protocol != PROBES:
        yield from (str(one) for one in throttled(case.evidence) if one.share <= THROTTLED_SHARE)


@check("all-measured", at_end=True)
def all_was_measured(case: Case) -> Iterator[str]:
    """Every metric that the protocol measures and the cell asks for was measured."""
    for name in protocol_metrics(case.evidence, ALL_METRICS):
        for part in parts(name):
            if name == "mem" and unwatched(case.evidence):
                continue  # the check of its samples has the reason
            if name in case.cell.applicable and part not in case.measurements:
                yield f"found no measurement of {part}, expected one from protocol {case.protocol}"


def _from_1(epochs: Iterable[int]) -> list[int]:
    """Return epochs as people count them; events begin with 0."""
    return [epoch + 1 for epoch in epochs]


def _place(rank: RankEvidence) -> str:
    at = rank.resumed
    return "the beginning" if at is None else f"step {at.step} of epoch {at.epoch + 1}, {at.steps_left} left"


def _position_adds_up(rank: RankEvidence) -> Iterator[str]:
    """The epoch that was broken off had the steps that were left, the ones after it have all."""
    at = rank.resumed
    if at is None:
        return
    whole = at.step + at.steps_left
    if min(at.epoch, at.step, at.steps_left) < 0 or at.first_step != at.epoch * whole + at.step:
        yield f"rank {rank.rank}: found {_place(rank)} as step {at.first_step} of the run, expected these to agree"
    for epoch in rank.epochs:
        expected = at.steps_left if epoch.epoch == at.epoch else whole
        if epoch.steps != expected:
            yield f"rank {rank.rank}: epoch {epoch.epoch + 1}: found {epoch.steps} steps, expected the {expected} left"
