"""One whole training step, and the loss over some: the network, its inputs, and what the host makes of them.

    plan = plan_of(settings)
    reference = reference_of(plan)                  # decisions, fp64 gradients, how far honest arithmetic is from them
    losses, gradients = gradients_of(build(plan), batch_of(plan), reference.decisions[0])

The decisions are those of a step in fp32 on the host, so what is left are rounding errors. How large they may be is
measured: by the host's own arithmetic, with and without oneDNN, and by the errors of strictly sequential sums.
"""

from __future__ import annotations

import contextlib
import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator, Mapping, Sequence

import numpy as np
import torch

from evidence.events.operators import UNIT_ROUNDOFF
from evidence.run_file import PROBES
from trainer.data.shapes import draw
from trainer.model.decisions import Decisions, taken
from trainer.model.networks import build_model
from trainer.model.products import Product, altered_products
from trainer.settings import SIDES, Settings

LOSSES = "losses"
"""Among the gradients of a step: its losses, by name in alphabetical order."""

_SMALL = "fasterrcnn_resnet18_fpn_small"
_LARGE = "fasterrcnn_resnet50_fpn"
_LARGE_SIDES = (400, 667)
_RATE, _MOMENTUM, _DECAY = 0.001, 0.9, 1e-4
_FULL_STEPS, _QUICK_STEPS = 20, 10
_SHAPES = 3
_FP16_SCALE = 1024.0
_SETTINGS = Settings(Path("."), Path("."), protocol=PROBES, pretrained_backbone=False)

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """What is asked: a network with the weights of a seed, trained for `steps` on one generated picture.

    `dtype` is that of its products: fp32, tf32, fp16 or bf16.
    """

    model: str
    sides: tuple[int, int]
    num_classes: int
    frozen: bool
    dtype: str
    seed: int
    steps: int


@dataclass(frozen=True)
class Batch:
    """One picture, float [3, height, width] of 0..1, and its boxes and labels."""

    images: list[torch.Tensor]
    targets: list[dict[str, torch.Tensor]]

    def to(self, where: Any) -> Batch:
        """Return it on a device, or in a floating dtype."""
        device = where if isinstance(where, torch.device) else None
        targets = [{"boxes": one["boxes"].to(where), "labels": one["labels"].to(device)} for one in self.targets]
        return Batch([one.to(where) for one in self.images], targets)


def plan_of(settings: Settings) -> Plan:
    """Return what a run of these settings is asked.

    quick: 10 steps, of the small network in place of ResNet-50; full: 20 of the cell's own, ResNet-50 at 400 pixels.
    """
    full = settings.numerics == "full"
    name = _SMALL if settings.model == _LARGE and not full else settings.model
    sides = _LARGE_SIDES if name == _LARGE else SIDES[name]
    dtype = {"amp": "fp16", "fp32": "tf32" if settings.tf32 else "fp32"}.get(settings.precision, settings.precision)
    frozen = name == _LARGE and settings.pretrained_backbone
    return Plan(name, sides, settings.num_classes, frozen, dtype, settings.seed, _FULL_STEPS if full else _QUICK_STEPS)


def build(plan: Plan) -> torch.nn.Module:
    """Return the network on the host, in training mode. The state of torch's generators stays as it is."""
    settings = replace(
        _SETTINGS, model=plan.model, sides=plan.sides, num_classes=plan.num_classes, pretrained_backbone=plan.frozen
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return build_model(settings)


def batch_of(plan: Plan) -> Batch:
    """Return the picture of a plan: simple shapes, on the host."""
    pixels, shapes = draw(np.random.Generator(np.random.PCG64(plan.seed)), shapes=_SHAPES)
    boxes = [(x, y, x + width, y + height) for x, y, width, height in (one.box for one in shapes)]
    labels = [one.category for one in shapes]
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255
    return Batch([image], [{"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels)}])


def gradients_of(
    model: torch.nn.Module,
    batch: Batch,
    decisions: Decisions,
    dtype: str,
    around: Callable[[], ContextManager[Any]] = contextlib.nullcontext,
) -> dict[str, torch.Tensor]:
    """Take one forward and backward pass with decisions given; return LOSSES, and the gradient of each parameter.

    All stay on the model's device. `around` is the context of the forward pass: of other arithmetic.
    """
    scale = _FP16_SCALE if dtype == "fp16" else 1.0  # smaller gradients would be lost, as without a GradScaler
    model.zero_grad(set_to_none=True)
    with around(), taken(model, decisions):
        losses = model(batch.images, batch.targets)
    (sum(losses.values()) * scale).backward()
    found = {LOSSES: torch.stack([losses[name].detach() for name in sorted(losses)])}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            parameter.grad /= scale
            found[name] = parameter.grad.detach()
    return found


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the SGD of the steps."""
    trained = [one for one in model.parameters() if one.requires_grad]
    return torch.optim.SGD(trained, lr=_RATE, momentum=_MOMENTUM, weight_decay=_DECAY)


def trajectory(
    model: torch.nn.Module,
    batch: Batch,
    decisions: Sequence[Decisions],
    dtype: str,
    around: Callable[[], ContextManager[Any]] = contextlib.nullcontext,
) -> list[torch.Tensor]:
    """Take a training step with each of the decisions; return their summed losses, fp64 scalars on the device."""
    optimizer, losses = optimizer_of(model), []
    for one in decisions:
        losses.append(gradients_of(model, batch, one, dtype, around)[LOSSES].double().sum())
        optimizer.step()
    return losses


def own(dtype: str) -> ContextManager[Any]:
    """Return the context in which the host rounds what products take, and in half precision what they give, to dtype.

    That is what a device does for tf32 and under autocast; sums are those of fp32.
    """
    return _arithmetic(dtype, None) if dtype in _ROUNDED else contextlib.nullcontext()


def sequential(dtype: str, seed: int) -> ContextManager[Any]:
    """Return the context in which products on the host have the rounding errors of strictly sequential sums.

    A sum of K terms then has an RMS error of 0.28 u sqrt(K) times its RMS: the partial sums grow as sqrt(k) for terms
    of either sign, and each addition is off by 0.4 u of one, RMS (Higham, Accuracy and Stability of Numerical
    Algorithms, 2nd edition, 4.2). The errors are drawn, since computing them would take a loop over the terms. So are
    those of rounding to a shorter dtype, which devices do in more than one way.
    """
    return _arithmetic(dtype, torch.Generator().manual_seed(seed))


@contextlib.contextmanager
def without_onednn(dtype: str) -> Iterator[None]:
    """Return the context in which the host computes with torch's own kernels."""
    before = torch.backends.mkldnn.set_flags(_enabled=False)  # not flags(), which warns of what else it sets
    try:
        with own(dtype):
            yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=before[0])


_DRAWS = 2
WAYS: Mapping[str, Callable[[str], ContextManager[Any]]] = {
    "own": own,
    "without oneDNN": without_onednn,
    **{f"sequential {seed}": functools.partial(sequential, seed=seed) for seed in range(_DRAWS)},
}
"""The honest arithmetic that sets the bounds, by name: contexts of a forward pass on the host, for a dtype."""

_SEQUENTIAL = 0.28


def _arithmetic(dtype: str, generator: torch.Generator | None) -> ContextManager[Any]:
    def rounded(value: torch.Tensor) -> torch.Tensor:
        if generator is not None:  # up to half a unit, so that it comes out one way or the other
            share = torch.rand(value.shape, generator=generator) - 0.5
            value = value * (1 + 2 * UNIT_ROUNDOFF[dtype] * share)
        return _ROUNDED[dtype](value)

    def results(product: Product, direction: str, value: torch.Tensor) -> torch.Tensor:
        if generator is not None and value.numel():
            size = _SEQUENTIAL * UNIT_ROUNDOFF["fp32"] * math.sqrt(product.terms[direction]) * _rms(value)
            value = value + size * torch.randn(value.shape, generator=generator)
        return rounded(value) if dtype in ("fp16", "bf16") else value

    return altered_products(results, (lambda _, value: rounded(value)) if dtype in _ROUNDED else None)


def _tf32(one: torch.Tensor) -> torch.Tensor:
    wide = one * (2.0**13 + 1)  # Dekker's splitting: 11 bits are left
    return wide - (wide - one)


_ROUNDED: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tf32": _tf32,
    "fp16": lambda one: one.half().float(),
    "bf16": lambda one: one.bfloat16().float(),
}


@dataclass(frozen=True)
class Distance:
    """How far a tensor is from its reference: `worst` is the largest |error| in units of u max |reference|.

    `at` is the flat index of that element, `found` and `expected` its values, `rms` that of the reference.
    """

    worst: float
    rmse: float
    rms: float
    at: int
    found: float
    expected: float


def distance(found: torch.Tensor, expected: torch.Tensor, dtype: str) -> Distance:
    """Return how far a tensor is from its reference, both on the host. What is not finite is infinitely far."""
    wide = expected.double().reshape(-1)
    if found.shape != expected.shape:
        return Distance(math.inf, math.inf, 0.0, 0, math.nan, math.nan)
    error = (found.double().reshape(-1) - wide).abs()
    error = torch.where(torch.isfinite(error), error, torch.full_like(error, math.inf))
    at = int(error.argmax())
    unit = UNIT_ROUNDOFF[dtype] * float(wide.abs().max())
    worst = float(error[at]) / unit if unit else math.inf if float(error[at]) else 0.0
    return Distance(worst, _rms(error), _rms(wide), at, float(found.reshape(-1)[at]), float(wide[at]))


def _rms(values: torch.Tensor) -> float:
    return float(values.double().pow(2).mean().sqrt())
