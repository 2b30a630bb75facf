"""The operators probe: every rank's device computes the cases, and each answer is held against the host's reference."""

from __future__ import annotations

import hashlib
import time

import torch

from evidence.numerics import OperatorAnswer, OperatorsDone
from evidence.rank_file import EventLog
from trainer.devices import Backend
from trainer.numerics.cache import References
from trainer.numerics.cases import Case, is_repeated, quick_cases
from trainer.numerics.operators import Tensors, load
from trainer.numerics.reference import figures_of, inputs_of
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
        log.write(_ask(case, backend, references))
    took_s = time.perf_counter() - begun_s - (references.seconds - asked_s)
    source = {0: "cache", len(cases): "computed"}.get(references.computed, "both")
    log.write(
        OperatorsDone(len(cases), began_ns, round(took_s, 3), round(references.seconds, 3), source, references.why)
    )


def _ask(case: Case, backend: Backend, references: References) -> OperatorAnswer:
    operator = load()[case.operator]
    inputs = inputs_of(case)
    begun_ns = time.perf_counter_ns()

    def compute(there: Tensors) -> torch.Tensor:
        return operator.compute(case.direction, case.sizes, there).detach()

    try:
        answer = backend.compute(case, inputs, compute)
    except (RuntimeError, NotImplementedError) as error:  # what a framework raises for an operator it does not have
        text = (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST]
        return _answer(case, error=text)
    took_ns = time.perf_counter_ns() - begun_ns
    digest, repeats, unlike = _digest(answer), _REPEATS if is_repeated(case) else 0, 0
    for _ in range(repeats):
        unlike += _digest(backend.compute(case, inputs, compute)) != digest
    reference = references.of(case)
    figures = figures_of(case, inputs, reference, answer)
    return _answer(
        case,
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
        digest=digest,
        repeats=repeats,
        unlike=unlike,
        time_ns=took_ns,
    )


def _answer(case: Case, **found: object) -> OperatorAnswer:
    kind = load()[case.operator].kind
    return OperatorAnswer(
        case.operator,
        case.direction,
        case.dtype,
        case.sizes,
        kind.rule,
        may_vary=kind.unordered.get(case.direction, ""),
        seed=case.seed,
        layout=case.layout,
        **found,  # type: ignore[arg-type]
    )


def _digest(answer: torch.Tensor) -> str:
    # NumPy has no bfloat16, whose numbers fp32 holds exactly.
    wide = answer.float() if answer.dtype == torch.bfloat16 else answer
    return hashlib.sha256(wide.contiguous().numpy().tobytes()).hexdigest()
