"""What the host makes of a step: decisions, fp64 gradients, and how far honest arithmetic is from them.

It is computed once on a host, by its local rank 0, and kept on disk as the references of the operators are.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Iterator, Mapping, Sequence

import numpy as np
import torch

from trainer import cache
from trainer.model.decisions import Decisions, recorded
from trainer.numerics.whole_step import (
    WAYS,
    Batch,
    Plan,
    Tensors,
    batch_of,
    build,
    distance,
    gradients_of,
    optimizer_of,
    trajectory,
)
from trainer.ranks import HostGroup

_MAKERS = (
    *("numerics/whole_step", "numerics/step_reference"),
    *("model/products", "model/decisions", "model/networks", "data/shapes"),
)


@dataclass(frozen=True)
class Honest:
    """How far honest arithmetic is from a tensor of the reference, at most: in units of u max |reference|, and RMSE."""

    worst: float
    rmse: float


@dataclass(frozen=True)
class StepReference:
    """What the host makes of a plan.

    `decisions` of each step; `gradients` of the first step by name of the parameter, computed in fp64 and rounded to
    fp32, and its LOSSES; `honest` by the same names. `losses` of each step, in fp32; `spread` is the largest distance
    to them of any honest way, up to that step.
    """

    decisions: Sequence[Decisions]
    gradients: Tensors
    honest: Mapping[str, Honest]
    losses: Sequence[float]
    spread: Sequence[float]


def reference_of(plan: Plan) -> StepReference:
    """Return the reference of a plan; takes seconds to minutes of the host's time."""
    batch, dtype = batch_of(plan), plan.dtype
    decisions, losses = _recorded(plan, batch)
    wide = gradients_of(build(plan).double(), batch.to(torch.float64), decisions[0], "fp64")
    gradients = {name: one.float() for name, one in wide.items()}
    honest = {name: Honest(0.0, 0.0) for name in gradients}
    spread = np.zeros(plan.steps)
    for name, way in WAYS.items():
        model = build(plan)
        for part, one in gradients_of(model, batch, decisions[0], dtype, lambda: way(dtype)).items():  # noqa: B023
            found = distance(one, gradients[part], dtype)
            honest[part] = Honest(max(honest[part].worst, found.worst), max(honest[part].rmse, found.rmse))
        if name == "own" and dtype == "fp32":
            continue  # the losses are its
        other = trajectory(build(plan), batch, decisions, dtype, lambda: way(dtype))  # noqa: B023
        spread = np.maximum(spread, np.abs(np.array([float(one) for one in other]) - np.array(losses)))
    return StepReference(decisions, gradients, honest, losses, np.maximum.accumulate(spread).tolist())


def _recorded(plan: Plan, batch: Batch) -> tuple[list[Decisions], list[float]]:
    """Train the host's network in fp32 for all steps; return their decisions and losses."""
    model = build(plan)
    decisions: list[Decisions] = []
    losses: list[float] = []
    optimizer = optimizer_of(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        for _ in range(plan.steps):
            model.zero_grad(set_to_none=True)
            with recorded(model) as found:
                parts = model(batch.images, batch.targets)
            sum(parts.values()).backward()
            optimizer.step()
            decisions.append(found)
            losses.append(float(sum(one.detach().double() for one in parts.values())))
    return decisions, losses


def obtain(plan: Plan, group: HostGroup) -> tuple[StepReference, str, str]:
    """Return the reference, "cache" or "computed", and why it is not in the cache, else "".

    A collective call of all ranks; local rank 0 computes it for its host.
    """
    found = _kept(plan) if group.ranks.local_rank == 0 else None
    group.barrier()
    return found or _kept(plan)


def _kept(plan: Plan) -> tuple[StepReference, str, str]:
    found = None
    try:
        path = cache.entry("references", f"one step {json.dumps(asdict(plan))} {torch.__version__}", *_MAKERS)
        with contextlib.suppress(cache.CacheError):  # a damaged one is replaced
            arrays = cache.read(path)
            if arrays is not None:
                return _from_arrays(arrays), "cache", ""
        found = reference_of(plan)
        cache.write(path, _arrays(found))
        return found, "computed", ""
    except cache.CacheError as error:
        return found or reference_of(plan), "computed", str(error)


def _arrays(reference: StepReference) -> dict[str, np.ndarray]:
    """Return a reference as arrays by name, for the cache."""
    arrays = {f"decision {step} {name}": one.numpy() for step, name, one in _decisions(reference)}
    for name, one in reference.gradients.items():
        honest = reference.honest[name]
        arrays[f"gradient {name}"] = one.numpy()
        arrays[f"honest {name}"] = np.array([honest.worst, honest.rmse])
    return {**arrays, "losses": np.array(reference.losses), "spread": np.array(reference.spread)}


def _from_arrays(arrays: dict[str, np.ndarray]) -> StepReference:
    """Return the reference of which these are the arrays."""
    gradients, honest = {}, {}
    decisions: list[dict[str, torch.Tensor]] = [{} for _ in arrays["losses"]]
    for key, one in arrays.items():
        kind, _, name = key.partition(" ")
        if kind == "gradient":
            gradients[name] = torch.from_numpy(one)
        elif kind == "honest":
            honest[name] = Honest(*one.tolist())
        elif kind == "decision":
            step, _, decision = name.partition(" ")
            decisions[int(step)][decision] = torch.from_numpy(one)
    return StepReference(decisions, gradients, honest, arrays["losses"].tolist(), arrays["spread"].tolist())


def _decisions(reference: StepReference) -> Iterator[tuple[int, str, torch.Tensor]]:
    for step, decisions in enumerate(reference.decisions):
        for name, one in decisions.items():
            yield step, name, one
