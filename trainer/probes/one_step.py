"""The one-step probe: every rank's device takes a training step, again, and some more, beside the host's reference."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import asdict, replace
from typing import Any, ContextManager

import torch

from evidence.events.one_step import Gradient, OneStepDone
from evidence.rank_file import EventLog
from trainer.devices import Backend
from trainer.errors import first_line
from trainer.numerics.catalogue import CATALOGUE, may_vary
from trainer.numerics.step_reference import StepReference, obtain
from trainer.numerics.whole_step import (
    Plan,
    batch_of,
    build,
    distance,
    gradients_of,
    optimizer_of,
    plan_of,
    trajectory,
)
from trainer.ranks import HostGroup
from trainer.settings import Settings

_FULL_REPEATS, _QUICK_REPEATS = 5, 1


def ask_one_step(settings: Settings, backend: Backend, group: HostGroup, log: EventLog) -> None:
    """Have the device take the step; write a `gradient` event a parameter, and `one_step`. Collective for all ranks."""
    began_ns, begun_s = backend.clock.now_ns(), time.perf_counter()
    plan = plan_of(settings)
    with log.beating("probes"):  # minutes, in which the other ranks of the host wait
        reference, source, why = obtain(plan, group)
    reference_s = time.perf_counter() - begun_s
    done = OneStepDone(plan.model, plan.sides, plan.dtype, began_ns, 0.0, round(reference_s, 3), source, why=why)
    try:
        answers, losses = answer(plan, reference, settings, backend)
    except (RuntimeError, NotImplementedError) as error:  # what a framework raises for an operator it does not have
        done, answers = replace(done, error=first_line(error)), []
    else:
        done = replace(
            done,
            gradients=len(answers),
            losses=tuple(losses),
            expected=tuple(reference.losses),
            spread=tuple(reference.spread),
        )
    for one in answers:
        log.write(one)
    log.write(replace(done, seconds=round(time.perf_counter() - begun_s - reference_s, 3)))


def answer(
    plan: Plan, reference: StepReference, settings: Settings, backend: Backend
) -> tuple[list[Gradient], list[float]]:
    """Return how the gradients of the device's step differ from the reference, and the loss of each step."""
    model = build(plan).to(backend.device)
    state = {name: one.clone() for name, one in model.state_dict().items()}
    batch = batch_of(plan).to(backend.device)

    def around() -> ContextManager[Any]:
        stack = contextlib.ExitStack()
        stack.enter_context(backend.autocast(settings.precision))
        stack.enter_context(backend.step_arithmetic(model))
        return stack

    def step() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        model.load_state_dict(state)
        found = gradients_of(model, batch, reference.decisions[0], plan.dtype, around)
        on_host = {name: one.cpu() for name, one in found.items()}
        optimizer_of(model).step()
        after = {name: one.detach().cpu() for name, one in model.named_parameters()}
        return on_host, {name: _digest(one, *([after[name]] if name in after else [])) for name, one in on_host.items()}

    decided = _digest(*reference.decisions[0].values())
    gradients, digests = step()
    repeats = _FULL_REPEATS if settings.numerics == "full" else _QUICK_REPEATS
    repeated = [step()[1] for _ in range(repeats)]
    model.load_state_dict(state)
    losses = trajectory(model, batch, reference.decisions, plan.dtype, around)
    answers = []
    for name, expected in reference.gradients.items():
        far = distance(gradients.get(name, torch.empty(0)), expected, plan.dtype)
        honest = reference.honest[name]
        figures = {**asdict(far), "honest": honest.worst, "honest_rmse": honest.rmse}
        mine = digests.get(name, "")
        answers.append(
            Gradient(
                name,
                plan.dtype,
                expected.numel(),
                **figures,
                digest=mine,
                repeats=repeats,
                unlike=sum(one.get(name) != mine for one in repeated),
                may_vary=_reason(name, settings),
                decisions=decided,
            )
        )
    return answers, [float(one.cpu()) for one in losses]


def _reason(parameter: str, settings: Settings) -> str:
    """Return why two steps may give a parameter other bits, "" if they may not.

    The gradients of the backbone come through RoIAlign's backward pass, those of the RPN through convolutions, and all
    of them depend on the convolutions' results.
    """

    def of(operator: str, direction: str) -> str:
        switches = {"deterministic": settings.deterministic, "benchmark": settings.cudnn_benchmark}
        return may_vary(CATALOGUE[operator], direction, **switches)

    part = parameter.split(".")[0]
    own = {"backbone": of("roi-align", "backward"), "rpn": of("conv2d", "wgrad")}.get(part, "")
    return of("conv2d", "fprop") or own


def _digest(*tensors: torch.Tensor) -> str:
    digest = hashlib.sha256()
    for one in tensors:
        digest.update(one.contiguous().numpy().tobytes())
    return digest.hexdigest()
