"""The operators probe: every rank's device computes the cases, and each answer is held against the host's reference."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence.events.operators import OperatorAnswer, OperatorsDone
from evidence.files import operators_file
from evidence.rank_file import EventLog
from trainer.devices import Backend
from trainer.errors import first_line
from trainer.numerics.cache import References
from trainer.numerics.cases import Case, full_cases, quick_cases, repeats_of
from trainer.numerics.catalogue import CATALOGUE, may_vary
from trainer.numerics.operators import Tensors, load
from trainer.numerics.reference import Reference, figures_of, forget_inputs, inputs_of
from trainer.ranks import HostGroup
from trainer.settings import FULL, Settings

_BUDGET_S = 300.0  # without the references
_MOST_KEPT, _MOST_ELEMENTS = 16, 4096  # answers that are kept of a rank, and elements of each


def ask_operators(
    settings: Settings, backend: Backend, group: HostGroup, log: EventLog, budget_s: float = _BUDGET_S
) -> None:
    """Ask the device for every case and write one `operator` event each; a collective call of all ranks.

    After `budget_s` seconds, without those that references take, the cases that are left are counted and not asked.
    """
    cases_of = full_cases if settings.numerics == FULL else quick_cases
    cases = list(cases_of(settings.precision, settings.tf32, settings.seed))
    began_ns = backend.clock.now_ns()
    with log.beating("probes"):  # minutes, in which the other ranks of the host wait
        references = References(cases, group)
    begun_s, before_s = time.perf_counter(), references.seconds
    kept = KeptAnswers(settings.run_dir, group.ranks.rank)
    asked, took_s = 0, 0.0
    for case in cases:
        if took_s > budget_s:
            break
        log.write(_ask(case, settings, backend, references, kept))
        asked, took_s = asked + 1, time.perf_counter() - begun_s - (references.seconds - before_s)
    forget_inputs()
    source = {0: "cache", asked: "computed"}.get(references.computed, "both")
    unasked = Counter(case.question for case in cases[asked:])
    spent_s = round(took_s, 3), round(references.seconds, 3)
    log.write(OperatorsDone(asked, began_ns, *spent_s, source, references.why, unasked))


class KeptAnswers:
    """The answers of a rank that are outside their bounds: operators-NNNN.npz, small parts of the first ones.

    Each is the array named by its case: the elements around the worst one, in the flat order of the answer.
    """

    def __init__(self, run_dir: Path, rank: int) -> None:
        self._path = run_dir / operators_file(rank)
        self._arrays: dict[str, Any] = {}

    def add(self, case: Case, answer: OperatorAnswer, result: torch.Tensor) -> int | None:
        """Keep the answer to a case and return the index of the first element kept; None if there are enough."""
        if len(self._arrays) >= _MOST_KEPT:
            return None
        at = 0 if answer.in_sums else answer.at
        first = max(0, min(at - _MOST_ELEMENTS // 2, result.numel() - _MOST_ELEMENTS))
        self._arrays[case.name] = _wide(result.reshape(-1)[first : first + _MOST_ELEMENTS]).numpy()
        with self._path.open("wb") as file:
            np.savez_compressed(file, **self._arrays)
        return first


def _ask(case: Case, settings: Settings, backend: Backend, references: References, kept: KeptAnswers) -> OperatorAnswer:
    inputs = inputs_of(case)
    begun_ns = time.perf_counter_ns()

    def compute(there: Tensors) -> torch.Tensor:
        return load()[case.operator].compute(case.direction, case.sizes, there).detach()

    try:
        result = backend.compute(case, inputs, compute)
    except (RuntimeError, NotImplementedError) as error:  # what a framework raises for an operator it does not have
        return replace(_answer(case), error=first_line(error))
    took_ns = time.perf_counter_ns() - begun_ns
    digest, repeats = _digest(result), repeats_of(case)
    unlike = sum(_digest(backend.compute(case, inputs, compute)) != digest for _ in range(repeats))
    answer = answer_of(case, inputs, references.of(case), result)
    first = None if answer.margin <= 1 else kept.add(case, answer, result)
    reason = may_vary(
        CATALOGUE[case.operator],
        case.direction,
        deterministic=settings.deterministic,
        benchmark=settings.cudnn_benchmark,
    )
    return replace(
        answer,
        digest=digest,
        repeats=repeats,
        unlike=unlike,
        may_vary=reason,
        time_ns=took_ns,
        kept_from=first,
    )


def answer_of(case: Case, inputs: Tensors, reference: Reference, result: torch.Tensor) -> OperatorAnswer:
    """Return the event for a result, on the host: how far it is from the reference."""
    return replace(
        _answer(case),
        **asdict(figures_of(case, inputs, reference, result)),
        honest=reference.worst,
        honest_rmse=reference.rmse,
        rms=reference.rms,
    )


def _answer(case: Case) -> OperatorAnswer:
    rule = CATALOGUE[case.operator].rule
    return OperatorAnswer(
        case.operator, case.direction, case.dtype, case.sizes, rule, seed=case.seed, layout=case.layout
    )


def _digest(result: torch.Tensor) -> str:
    return hashlib.sha256(_wide(result).contiguous().numpy()).hexdigest()


def _wide(result: torch.Tensor) -> torch.Tensor:
    """Return numbers that NumPy has: it has no bfloat16, whose numbers fp32 holds exactly."""
    return result.float() if result.dtype == torch.bfloat16 else result
