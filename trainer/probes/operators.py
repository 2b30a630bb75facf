"""The operators probe: every rank's device computes the cases, and each answer is held against the host's reference."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import torch

from evidence.events.operators import OperatorAnswer, OperatorsDone
from evidence.rank_file import EventLog
from trainer.devices import Backend
from trainer.numerics.cache import References
from trainer.numerics.cases import Case, is_repeated, quick_cases
from trainer.numerics.catalogue import CATALOGUE, may_vary
from trainer.numerics.operators import Tensors, load
from trainer.numerics.reference import Reference, figures_of, inputs_of
from trainer.ranks import HostGroup
from trainer.settings import Settings

_REPEATS = 20
_LONGEST = 200  # characters of a framework's complaint


def ask_operators(settings: Settings, backend: Backend, group: HostGroup, log: EventLog) -> None:
    """Ask the device for every case and write one `operator` event each; a collective call of all ranks."""
    cases = list(quick_cases(settings.precision, settings.tf32, settings.seed))
    began_ns = backend.clock.now_ns()
    references = References(cases, group)
    begun_s, asked_s = time.perf_counter(), references.seconds
    for case in cases:
        kind = CATALOGUE[case.operator]
        reason = may_vary(
            kind, case.direction, deterministic=settings.deterministic, benchmark=settings.cudnn_benchmark
        )
        log.write(replace(_ask(case, backend, references), may_vary=reason))
    took_s = time.perf_counter() - begun_s - (references.seconds - asked_s)
    source = {0: "cache", len(cases): "computed"}.get(references.computed, "both")
    spent_s = round(took_s, 3), round(references.seconds, 3)
    log.write(OperatorsDone(len(cases), began_ns, *spent_s, source, references.why))


def _ask(case: Case, backend: Backend, references: References) -> OperatorAnswer:
    inputs = inputs_of(case)
    begun_ns = time.perf_counter_ns()

    def compute(there: Tensors) -> torch.Tensor:
        return load()[case.operator].compute(case.direction, case.sizes, there).detach()

    try:
        result = backend.compute(case, inputs, compute)
    except (RuntimeError, NotImplementedError) as error:  # what a framework raises for an operator it does not have
        text = (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST]
        return replace(_answer(case), error=text)
    took_ns = time.perf_counter_ns() - begun_ns
    digest, repeats = _digest(result), _REPEATS if is_repeated(case) else 0
    unlike = sum(_digest(backend.compute(case, inputs, compute)) != digest for _ in range(repeats))
    answer = answer_of(case, inputs, references.of(case), result)
    return replace(answer, digest=digest, repeats=repeats, unlike=unlike, time_ns=took_ns)


def answer_of(case: Case, inputs: Tensors, reference: Reference, result: torch.Tensor) -> OperatorAnswer:
    """Return the event for a result, on the host: how far it is from the reference."""
    figures = figures_of(case, inputs, reference, result)
    return replace(
        _answer(case),
        elements=figures.size,
        wrong=figures.wrong,
        worst=figures.worst,
        honest=reference.worst,
        rmse=figures.rmse,
        honest_rmse=reference.rmse,
        rms=reference.rms,
        at=figures.at,
        found=figures.found,
        expected=figures.expected,
    )


def _answer(case: Case) -> OperatorAnswer:
    rule = CATALOGUE[case.operator].rule
    return OperatorAnswer(
        case.operator, case.direction, case.dtype, case.sizes, rule, seed=case.seed, layout=case.layout
    )


def _digest(result: torch.Tensor) -> str:
    # NumPy has no bfloat16, whose numbers fp32 holds exactly.
    wide = result.float() if result.dtype == torch.bfloat16 else result
    return hashlib.sha256(wide.contiguous().numpy().tobytes()).hexdigest()
