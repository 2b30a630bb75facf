"""What has to hold for a run's evidence to be believed: the table of all checks."""

from __future__ import annotations

from typing import Iterable, Mapping

from evidence.bundle import Evidence
from expected import Cell
from verdict.checks import accounts, attempts, clocks, course, identity, workload
from verdict.checks.case import Case, Check
from verdict.metrics.measurement import Measurement

CAUSES: tuple[Check, ...] = (identity.booted, identity.no_failures)
"""Why a run has no proof to show; whatever else is wrong with it then follows from these."""

CHECKS: tuple[Check, ...] = (
    # Was it this cell, on this device, by all of its ranks?
    identity.all_ranks_reported,
    identity.world_is_the_topology,
    identity.one_card_a_rank,
    identity.card_is_the_asked_one,
    identity.cell_is_this_one,
    identity.ledger_is_the_runs,
    identity.recipe_is_the_cells,
    identity.host_clock_is_the_published,
    identity.backend_is_the_devices,
    identity.device_is_real,
    identity.card_is_the_model,
    identity.data_set_is_the_benchmarks,
    attempts.attempts_are_not_mixed,
    # Did it take the course that its protocol prescribes?
    course.protocol_is_known,
    attempts.last_attempt_goes_on,
    course.windows_lie_in_training,
    course.epochs_are_complete,
    course.evaluations_took_place,
    course.evaluations_saw_all_images,
    course.map_is_pycocotools,
    course.end_was_reached,
    course.steady_steps_were_taken,
    course.steady_state_was_reached,
    course.no_card_was_throttled,
    course.all_was_measured,
    # Do its clocks tell the truth?
    clocks.clock_was_tested,
    clocks.timer_sees_the_work,
    clocks.synchronise_waits,
    clocks.host_clock_is_monotonic,
    clocks.clocks_agree,
    # Was it the benchmark's work?
    workload.images_have_their_size,
    workload.proposals_are_there,
    workload.the_box_head_had_its_samples,
    workload.positives_are_there,
    workload.loss_did_not_grow,
    # Does what it counted and timed add up?
    accounts.steps_were_counted,
    accounts.windows_are_gapless,
    accounts.epochs_were_counted,
    accounts.batches_fit,
    accounts.learning_rate_is_the_cells,
    accounts.losses_are_finite,
    accounts.losses_change,
    accounts.durations_are_possible,
    accounts.compute_was_waited_for,
    accounts.ledger_adds_up,
    accounts.times_are_ordered,
    accounts.rates_are_ordered,
    accounts.memory_is_possible,
)

_SPELLED_OUT = 4  # violations of one kind; on sixteen ranks the rest would only repeat them


def violations(
    evidence: Evidence, cell: Cell, measurements: Mapping[str, Measurement], *, backend: str | None = None
) -> tuple[str, ...]:
    """Why the evidence cannot be trusted as a run of `cell`; empty when it can.

    Each says who (rank or file), what was found and what was expected. `backend` is the one that the cell's
    device needs; without it, run.json is taken at its word. The first is the nearest to the cause.
    """
    case = Case(evidence, cell, measurements, backend)
    causes = _run(CAUSES, case)
    consequences = () if causes else _run(CHECKS, case)
    return (*causes, *evidence.problems, *consequences)


def _run(checks: Iterable[Check], case: Case) -> tuple[str, ...]:
    texts: list[str] = []
    for check in checks:
        found = list(check(case))
        texts += found[:_SPELLED_OUT]
        if len(found) > _SPELLED_OUT:
            texts.append(f"and {len(found) - _SPELLED_OUT} more like it")
    return tuple(texts)
