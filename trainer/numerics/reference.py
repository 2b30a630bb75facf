"""What a case should give: the result in fp64 on the host, and how far honest fp32 arithmetic is away from it.

An answer of the device is held against it by `figures_of`; the bounds are verdict/probes/operators.py's.

A product too large to be computed in fp64 is sampled: some elements are computed one by one, and all of them enter into
sums over 64 channels with random signs, which are cheap to compute (Huang and Abraham, Algorithm-based fault tolerance
for matrix operations, 1984; Freivalds, 1977).

Sources of the rule: Higham, Accuracy and Stability of Numerical Algorithms (2002), 3.1 (the error of a sum is at most
gamma_n times the sum of absolute values); PyTorch's torch/_dynamo/utils.py:same() (RMSE).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from evidence.events.operators import BITS, SUMS, ULP, UNIT_ROUNDOFF
from trainer.numerics.cases import Case
from trainer.numerics.operators import Draw, Tensors, load
from trainer.numerics.products import GROUP, Product, grouped

OPERATORS = load()
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_SPLIT = 8
_MOST_PRODUCTS = 100_000_000  # of a result that is computed whole in fp64
_MOST_TERMS = 2_000_000  # that are added up one by one at once, in a sample of the elements
_MOST_PICKED = 2048
_LEAST_PICKED = 128  # of a result that is sampled


@dataclass(frozen=True)
class Reference:
    """The expected result of a case.

    `result`: fp64; of an exact case the very numbers; of a sampled one the picked elements, and after them the sums
    over c channels, / sqrt(c), as errors of random sign add up like that. `condition`: S of each element, and the mean
    S of those in a sum. `worst` is what honest arithmetic reaches: for sums max |err| / (u S) of three orders
    of summation (of a sampled case two, without the host's own), for ULP cases the host's error in ULP. `rmse`: the
    largest RMSE of those orders, `rms` that of the result itself.
    """

    result: torch.Tensor
    condition: torch.Tensor | None = None
    worst: float = 0.0
    rmse: float = 0.0
    rms: float = 0.0


@dataclass(frozen=True)
class Figures:
    """How an answer differs from its reference: fields of the event `operator`.

    `worst`: the largest |err| / (u S) of sums, the largest error in ULP, or 1 if any bit of an exact case differs;
    infinite where a number is not finite or there should be none. `at`: the flat index of that element; `found` and
    `expected` its values. `wrong`: those of all `elements` that differ at all.
    Of a sampled case `sampled` elements were compared, and `sums` over up to `channels` elements each; where such a sum
    is the worst, `at` is its index among the sums and `in_sums` is true. `rmse` is of the larger of both groups.
    """

    elements: int
    wrong: int
    worst: float
    rmse: float
    at: int
    found: float
    expected: float
    sampled: int = 0
    sums: int = 0
    channels: int = 0
    in_sums: bool = False


@dataclass(frozen=True)
class Sample:
    """What is compared of a product: the flat indices of picked elements, and sums over groups of channels.

    `factors`: of each channel in them, a random sign over the root of the number in its group.
    """

    shape: tuple[int, ...]
    axis: int
    picked: torch.Tensor
    factors: torch.Tensor

    def of(self, answer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the picked elements and the sums of an answer of that shape, in fp64."""
        sums = grouped(answer.double(), self.factors, self.axis)
        return answer.reshape(-1)[self.picked].double(), sums.reshape(-1)


def sample_of(case: Case, inputs: Tensors) -> Sample | None:
    """Return what is compared of a case; None if all of it is."""
    operator = OPERATORS[case.operator]
    if not isinstance(operator, Product):
        return None
    shape, terms = operator.shape(case.direction, inputs), operator.terms_of(case.direction, case.sizes, inputs)
    size = math.prod(shape)
    if size * terms <= _MOST_PRODUCTS:
        return None
    draw, axis = torch.Generator().manual_seed(case.seed), 0 if case.direction == "wgrad" else 1
    count = min(size, max(_LEAST_PICKED, min(_MOST_PICKED, 8 * _MOST_TERMS // terms)))
    picked = torch.randint(size, (count,), generator=draw)
    signs = torch.randint(2, (shape[axis],), generator=draw).double() * 2 - 1
    counts = torch.cat([torch.full_like(group, len(group)) for group in signs.split(GROUP)])
    return Sample(shape, axis, picked, signs / counts.sqrt())


def inputs_of(case: Case) -> Tensors:
    """Return the inputs of a case on the host, floating ones rounded to its dtype; they are the same for all passes."""
    return _inputs_of(replace(case, direction=""))


@functools.lru_cache(maxsize=1)
def _inputs_of(case: Case) -> Tensors:
    drawn = OPERATORS[case.operator].inputs(case.sizes, Draw(case.seed))
    return {name: _strided(case, cast(one, case.dtype)) for name, one in drawn.items()}


def forget_inputs() -> None:
    """Free the memory of the last inputs, which may be hundreds of MiB."""
    _inputs_of.cache_clear()


def cast(one: torch.Tensor, dtype: str) -> torch.Tensor:
    """Return a floating tensor in the dtype of that name, another as it is."""
    return one.to(DTYPES[dtype]) if one.is_floating_point() else one


def _strided(case: Case, one: torch.Tensor) -> torch.Tensor:
    if case.layout != "strided" or one.dim() < 2:
        return one
    return one.transpose(-1, -2).contiguous().transpose(-1, -2)


def reference_of(case: Case, inputs: Tensors) -> Reference:
    """Return the reference of a case whose inputs are those of `inputs_of`; takes up to seconds of the host's time."""
    operator = OPERATORS[case.operator]
    sample = sample_of(case, inputs)
    if sample is not None:
        assert isinstance(operator, Product)
        return _sampled(case, operator, inputs, sample)
    host = _host(case, inputs)
    if operator.kind.rule not in (ULP, SUMS):
        return Reference(host)
    wide = {name: one.double() if one.is_floating_point() else one for name, one in inputs.items()}
    result = operator.compute(case.direction, case.sizes, wide)
    if operator.kind.rule == ULP:
        return Reference(result, worst=_largest(_ulps(host, result, case.dtype)))
    condition = operator.condition(case.direction, case.sizes, wide)
    bare = Reference(result, condition, rms=_rms(result))
    worst, rmse = _sums_of(host, result, condition, case.dtype)
    for found, picked in _other_orders(case, inputs, result.numel()):
        other = _sums_of(found, result.reshape(-1)[picked], condition.reshape(-1)[picked], case.dtype)
        worst, rmse = max(worst, other[0]), max(rmse, other[1])
    return Reference(result, condition, worst, rmse, bare.rms)


def _sampled(case: Case, operator: Product, inputs: Tensors, sample: Sample) -> Reference:
    """Return the reference of what is compared of a product."""
    single = {name: one.float() if one.is_floating_point() else one for name, one in inputs.items()}
    found: list[list[torch.Tensor]] = []
    count = max(1, _MOST_TERMS // operator.terms_of(case.direction, case.sizes, single))
    for picked in sample.picked.split(count):
        terms = operator.terms(case.direction, case.sizes, single, picked)
        assert terms is not None
        exact, products = terms[0].double() * terms[1].double(), (terms[0] * terms[1]).numpy()
        orders = [torch.from_numpy(add_up(products)) for add_up in (sequential, in_parts)]
        sums = [exact.sum(1), exact.abs().sum(1), *orders]
        found.append([operator.finish(one) for one in sums])
    result, condition, *others = (torch.cat(each) for each in zip(*found))
    honest = [_sums_of(cast(one, case.dtype), result, condition, case.dtype) for one in others]
    worst, rmse = (max(figures) for figures in zip(*honest))
    rms = _rms(result)
    wide = {name: one.double() if one.is_floating_point() else one for name, one in inputs.items()}
    folded = operator.folded(case.direction, wide, sample.factors)
    if folded is not None:
        absolute = operator.folded(case.direction, {name: one.abs() for name, one in wide.items()}, sample.factors**2)
        assert absolute is not None
        totals, sizes = (operator.compute(case.direction, case.sizes, one).reshape(-1) for one in (folded, absolute))
        result = torch.cat([result, totals])
        condition = torch.cat([condition, sizes])
    return Reference(result, condition, worst, rmse, rms)


def _host(case: Case, inputs: Tensors) -> torch.Tensor:
    """Return the host's own result: computed in fp32 and rounded once to the dtype, which it may not compute in."""
    single = {name: one.float() if one.is_floating_point() else one for name, one in inputs.items()}
    return cast(OPERATORS[case.operator].compute(case.direction, case.sizes, single), case.dtype)


def _other_orders(case: Case, inputs: Tensors, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return (values, picked elements) summed strictly one after the other, and in parts, in fp32."""
    single = {name: one.float() if one.is_floating_point() else one for name, one in inputs.items()}
    operator = OPERATORS[case.operator]
    if not size:
        return []
    one = operator.terms(case.direction, case.sizes, single, torch.zeros(1, dtype=torch.int64))
    if one is None:
        return []
    count = max(1, min(size, _MOST_PICKED, _MOST_TERMS // max(1, one[0].shape[1])))
    picked = torch.randperm(size, generator=torch.Generator().manual_seed(case.seed))[:count]
    terms = operator.terms(case.direction, case.sizes, single, picked)
    assert terms is not None
    products = (terms[0] * terms[1]).numpy()
    found = [sequential(products), in_parts(products)]
    return [(cast(operator.finish(torch.from_numpy(values)), case.dtype), picked) for values in found]


def sequential(products: np.ndarray) -> np.ndarray:
    """Return the sum of each row in fp32, each product added to the sum of those before it."""
    if not products.shape[1]:
        return np.zeros(len(products), np.float32)
    total: np.ndarray = np.add.accumulate(products, axis=1, dtype=np.float32)[:, -1]
    return np.ascontiguousarray(total)


def in_parts(products: np.ndarray, parts: int = _SPLIT) -> np.ndarray:
    """Return the sum of each row in fp32: of parts that were each summed sequentially (split-K)."""
    sums = [sequential(part) for part in np.array_split(products, parts, axis=1)]
    return sequential(np.stack(sums, axis=1))


def figures_of(case: Case, inputs: Tensors, reference: Reference, answer: torch.Tensor) -> Figures:
    """Return how an answer, on the host, differs from the reference. A result of another shape is wrong everywhere."""
    operator = OPERATORS[case.operator]
    rule = operator.kind.rule
    sample = sample_of(case, inputs)
    if sample is not None:
        return _figures_of_sample(case, sample, reference, answer)
    size = reference.result.numel()
    if answer.shape != reference.result.shape:
        return Figures(size, size, math.inf, math.inf, 0, math.nan, math.nan)
    if not size:
        return Figures(0, 0, 0.0, 0.0, 0, 0.0, 0.0)
    rmse = 0.0
    if rule == ULP:
        each = _ulps(answer, reference.result, case.dtype)
    elif rule == BITS:
        each = _lost_bits(answer, reference.result)
    elif rule != SUMS:
        each = operator.differs(case.sizes, inputs, answer, reference.result).double()
    else:
        assert reference.condition is not None
        each = _shares(answer, reference.result, reference.condition, case.dtype)
        rmse = _rms(answer.double() - reference.result)
    flat = _infinite_where_nan(each)
    at = int(flat.argmax())
    wrong = int((flat > 0).sum())
    found, expected = float(answer.reshape(-1)[at]), float(reference.result.reshape(-1)[at])
    return Figures(size, wrong, float(flat[at]), rmse, at, found, expected)


def _figures_of_sample(case: Case, sample: Sample, reference: Reference, answer: torch.Tensor) -> Figures:
    size, count, channels = math.prod(sample.shape), len(sample.picked), min(GROUP, len(sample.factors))
    if tuple(answer.shape) != sample.shape:
        return Figures(size, size, math.inf, math.inf, 0, math.nan, math.nan)
    assert reference.condition is not None
    picked, totals = sample.of(answer)
    sums = len(reference.result) - count
    found = torch.cat([picked, totals]) if sums else picked
    flat = _infinite_where_nan(_shares(found, reference.result, reference.condition, case.dtype))
    at = int(flat.argmax())
    error = found - reference.result
    rmse = _rms(error[count:]) if sums > count else _rms(error[:count])
    return Figures(
        size,
        int((flat > 0).sum()),
        float(flat[at]),
        rmse,
        at - count if at >= count else int(sample.picked[at]),
        float(found[at]),
        float(reference.result[at]),
        sampled=count,
        sums=sums,
        channels=channels,
        in_sums=at >= count,
    )


def _infinite_where_nan(each: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.isnan(each), torch.full_like(each, math.inf), each).reshape(-1)


def _lost_bits(answer: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """Return how many of the 24 bits of an fp32 number do not come out as they went in."""
    relative = (answer.double() - result.double()).abs() / result.double().abs()
    return (24 + torch.log2(torch.clamp(relative, min=2.0**-24))).clamp(max=24).nan_to_num(24.0)


def _ulps(answer: torch.Tensor, result: torch.Tensor, dtype: str) -> torch.Tensor:
    """Return |answer - result| in units in the last place of the result."""
    # frexp: |x| = m 2^e with m in [0.5, 1); the last of p binary digits is worth 2^(e - p).
    _, exponent = np.frexp(np.maximum(np.abs(result.numpy()), 2.0**-126 if dtype != "fp16" else 2.0**-14))
    unit = torch.from_numpy(np.ldexp(2.0 * UNIT_ROUNDOFF[dtype], exponent - 1).reshape(result.shape))
    return (answer.double() - result).abs() / unit


def _shares(answer: torch.Tensor, result: torch.Tensor, condition: torch.Tensor, dtype: str) -> torch.Tensor:
    """Return |err| / (u S); infinite where all that is added up is 0 and the answer is not."""
    error = (answer.double() - result).abs()
    share = error / (UNIT_ROUNDOFF[dtype] * condition)
    return torch.where(condition == 0, torch.where(error == 0, error, torch.full_like(error, math.inf)), share)


def _sums_of(answer: torch.Tensor, result: torch.Tensor, condition: torch.Tensor, dtype: str) -> tuple[float, float]:
    return _largest(_shares(answer, result, condition, dtype)), _rms(answer.double() - result)


def _largest(values: torch.Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _rms(values: torch.Tensor) -> float:
    return float(values.double().pow(2).mean().sqrt()) if values.numel() else 0.0
