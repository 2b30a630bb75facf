"""Planted errors of arithmetic: what a simulated device computes wrong, operator by operator."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Mapping

from trainer.devices.scenario import Fault
from trainer.numerics.catalogue import PRODUCTS

if TYPE_CHECKING:
    import torch

    from trainer.numerics.cases import Case
    from trainer.numerics.operators import Tensors

_SMALLEST_NORMAL = 2.0**-126
_TILE = 16
_INT16_STEPS = 2**15 - 1
_UNORDERED = 0.25  # of the elements
_DRIFT = 2.0**-18  # of the products of a model, times the square of the forward passes before


class NumericFaults:
    """Applies the planted errors of one rank; `seed` decides which calls a rare one is in."""

    def __init__(self, faults: list[Fault], seed: int) -> None:
        self._faults = faults
        self._draw = random.Random(f"numeric faults {seed}")  # noqa: S311 - nothing secret
        self._passes = 0

    def compute(self, case: Case, inputs: Tensors, compute: Callable[[Tensors], torch.Tensor]) -> torch.Tensor:
        """Return what the device gives for a case: the result of rounded inputs, or a result that was altered."""
        mine = [fault for fault in self._faults if self._is_on(fault, case)]
        for fault in mine:
            if fault["error"] in _INPUTS and case.operator in PRODUCTS and case.dtype == "fp32":
                rounded = _INPUTS[fault["error"]]
                inputs = {name: rounded(one) if one.is_floating_point() else one for name, one in inputs.items()}
        if any(fault["error"] == "unordered" for fault in mine):
            result = self._unordered(case, inputs, compute)
        else:
            result = compute(inputs)
        for fault in mine:
            if fault["error"] in _RESULTS and result.numel():
                result = _RESULTS[fault["error"]](result.clone(), fault, self._draw)
        return result

    def _unordered(self, case: Case, inputs: Tensors, compute: Callable[[Tensors], torch.Tensor]) -> torch.Tensor:
        """Add up in another order at each call: of a gradient a random half of what comes in, and then the rest."""
        import torch

        generator = torch.Generator().manual_seed(self._draw.getrandbits(32))
        changed = permuted(case, inputs, generator)
        if changed is not None:
            return compute(changed)
        if case.direction in ("forward", "fprop") or not inputs["upstream"].dim():
            return compute(inputs)
        upstream = inputs["upstream"]
        first = torch.randint(2, upstream.shape, generator=generator).to(upstream.dtype)
        halves = [compute({**inputs, "upstream": upstream * part}) for part in (first, 1 - first)]
        return halves[0] + halves[1]

    def in_step(self, model: torch.nn.Module) -> ContextManager[Any]:
        """Return the context of a forward pass in which the products of a model, and their gradients, are wrong.

        Of conv2d and linear, those with a parameter whose name contains the fault's `layer`.
        """
        from trainer.model.products import Product, altered_products

        names = {id(one): name for name, one in model.named_parameters()}
        drift, self._passes = 1 + _DRIFT * self._passes**2, self._passes + 1
        faults = [fault for fault in self._faults if fault["layer"]]

        def there(product: Product) -> list[Fault]:
            named = [fault for fault in faults if fault["operator"] in ("", product.operator)]
            return [fault for fault in named if fault["layer"] in names.get(id(product.weight), "")]

        def inputs(product: Product, value: torch.Tensor) -> torch.Tensor:
            for fault in there(product):
                value = _INPUTS[fault["error"]](value) if fault["error"] in _INPUTS else value
            return value

        def results(product: Product, direction: str, value: torch.Tensor) -> torch.Tensor:
            for fault in there(product):
                if fault["direction"] not in ("", direction) or self._draw.random() >= fault["rate"]:
                    continue
                if fault["error"] in _STEP_RESULTS:
                    value = _STEP_RESULTS[fault["error"]](value.clone(), fault, self._draw)
                elif fault["error"] == "drift":
                    value = value * drift
            return value

        return altered_products(results, inputs) if faults else contextlib.nullcontext()

    def _is_on(self, fault: Fault, case: Case) -> bool:
        named = fault["operator"] in ("", case.operator) and fault["direction"] in ("", case.direction)
        named = named and not fault["layer"]
        return named and (fault["rate"] >= 1 or self._draw.random() < fault["rate"])


_SUMMED: Mapping[tuple[str, str], Mapping[str, int]] = {
    ("conv2d", "fprop"): {"x": 1, "weight": 1},
    ("conv2d", "dgrad"): {"upstream": 1, "weight": 0},
    ("linear", "fprop"): {"x": 1, "weight": 1},
    ("linear", "dgrad"): {"upstream": 1, "weight": 0},
    ("linear", "wgrad"): {"x": 0, "upstream": 0},
    ("linear", "bgrad"): {"x": 0, "upstream": 0},
    ("conv-bn-relu", "fprop"): {"x": 1, "weight": 1},
    ("sum", "forward"): {"x": 0},
    ("mean", "forward"): {"x": 0},
    ("sum-of-squares", "forward"): {"x": 0},
    ("roi-align", "backward"): {"boxes": 0, "upstream": 0},
    ("cross-entropy", "forward"): {"x": 0, "target": 0},
    ("bce-with-logits", "forward"): {"x": 0, "target": 0},
    ("smooth-l1", "forward"): {"x": 0, "target": 0},
}
"""By operator and pass, the dimension of each input that is summed over."""


def permuted(case: Case, inputs: Tensors, generator: torch.Generator) -> Tensors | None:
    """Return the inputs with the dimension that is summed over in random order; None for a pass that has no such."""
    import torch

    axes = _SUMMED.get((case.operator, case.direction))
    if axes is None:
        return None
    changed = dict(inputs)
    orders: dict[int, torch.Tensor] = {}
    for name, axis in axes.items():
        length = inputs[name].shape[axis]
        order = orders.setdefault(length, torch.randperm(length, generator=generator))
        changed[name] = inputs[name].index_select(axis, order)
    return changed


def _keep_bits(one: torch.Tensor, kept: int) -> torch.Tensor:
    """Round fp32 numbers to so many bits after the leading one, half to even."""
    import torch

    dropped = 23 - kept
    bits = one.contiguous().view(torch.int32)
    half = (1 << (dropped - 1)) - 1 + ((bits >> dropped) & 1)
    return ((bits + half) & -(1 << dropped)).view(torch.float32)


def _int16(one: torch.Tensor) -> torch.Tensor:
    largest = float(one.abs().max()) if one.numel() else 0.0
    step = largest / _INT16_STEPS
    return (one / step).round() * step if step else one


def _flip_bit(result: torch.Tensor, fault: Fault, draw: random.Random) -> torch.Tensor:
    import torch

    at = draw.randrange(result.numel())
    if result.dtype == torch.float32:
        result.reshape(-1).view(torch.int32)[at] ^= 1 << fault["bit"]
    return result


def _scale_one(result: torch.Tensor, fault: Fault, draw: random.Random) -> torch.Tensor:
    if result.is_floating_point():
        result.reshape(-1)[draw.randrange(result.numel())] *= 1 + 2.0**-9
    return result


def _stick_lane(result: torch.Tensor, fault: Fault, draw: random.Random) -> torch.Tensor:
    result.reshape(-1)[3::_TILE] = result.reshape(-1)[0]
    return result


def _nan_to_zero(result: torch.Tensor, fault: Fault, draw: random.Random) -> torch.Tensor:
    return result.nan_to_num(0.0) if result.is_floating_point() else result


def _flush(result: torch.Tensor, fault: Fault, draw: random.Random) -> torch.Tensor:
    import torch

    if not result.is_floating_point():
        return result
    return torch.where(result.abs() < _SMALLEST_NORMAL, torch.zeros_like(result), result)


def _other_ties(result: torch.Tensor, fault: Fault, draw: random.Random) -> torch.Tensor:
    """Swap neighbours, as of two that are equal either may come first."""
    import torch

    if result.dtype != torch.int64 or result.numel() < 2:
        return result
    return torch.cat([result[1:2], result[:1], result[2:]])


def _drop_tail(result: torch.Tensor, fault: Fault, draw: random.Random) -> torch.Tensor:
    tail = result.numel() % _TILE or _TILE
    result.reshape(-1)[-tail:] = 0
    return result


def _last_bits(result: torch.Tensor, fault: Fault, draw: random.Random) -> torch.Tensor:
    """Change last bits at random, as sums do whose terms come in another order each time."""
    import torch

    if result.dtype != torch.float32:
        return result
    generator = torch.Generator().manual_seed(draw.getrandbits(32))
    result.reshape(-1).view(torch.int32)[torch.rand(result.numel(), generator=generator) < _UNORDERED] ^= 1
    return result


_INPUTS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tf32": lambda one: _keep_bits(one, 10),
    "bf16": lambda one: _keep_bits(one, 7),
    "int16": _int16,
}
_RESULTS: Mapping[str, Callable[[torch.Tensor, Fault, random.Random], torch.Tensor]] = {
    "bit": _flip_bit,
    "element": _scale_one,
    "lane": _stick_lane,
    "tail": _drop_tail,
    "nan": _nan_to_zero,
    "flush": _flush,
    "ties": _other_ties,
}
_STEP_RESULTS = {**_RESULTS, "unordered": _last_bits}
