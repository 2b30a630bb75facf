"""Every kind of wrong arithmetic is found and named, and every honest one is let pass: the rule, without a device."""

from __future__ import annotations

import pytest
import torch

from benchmarks.numerics import WAYS
from trainer.devices.numeric_faults import NumericFaults
from trainer.devices.scenario import FAULTS, Fault
from trainer.numerics.cases import Case, case, quick_cases
from trainer.numerics.catalogue import CATALOGUE
from trainer.numerics.operators import Tensors, load
from trainer.numerics.reference import Reference, inputs_of, reference_of
from trainer.probes.operators import answer_of

OPERATORS = load()
FPN = case("conv2d", "fprop", "fp32", {"n": 1, "cin": 256, "h": 8, "w": 12, "cout": 16, "k": 3, "stride": 1}, seed=3)
FC6 = case("linear", "fprop", "fp32", {"n": 8, "k": 12544, "m": 16}, seed=3)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def planted(error: str, **keys: object) -> NumericFaults:
    values = {name: key.default for name, key in FAULTS["numerics"].items() if name != "error"}
    return NumericFaults([Fault("numerics", {**values, "error": error, **keys})], seed=1)


def margin(faults: NumericFaults, one: Case) -> float:
    inputs = inputs_of(one)

    def compute(given: Tensors) -> torch.Tensor:
        return OPERATORS[one.operator].compute(one.direction, one.sizes, given)

    return answer_of(one, inputs, reference_of(one, inputs), faults.compute(one, inputs, compute)).margin


@pytest.mark.parametrize("error", ["tf32", "bf16", "int16", "lane", "tail"])
@pytest.mark.parametrize("one", [FPN, FC6], ids=["fpn", "fc6"])
def test_products_that_are_wrong_are_found(error: str, one: Case) -> None:
    assert margin(planted(error), one) > 1


@pytest.mark.parametrize("one", [FPN, FC6], ids=["fpn", "fc6"])
def test_one_element_off_by_a_512th_is_found_but_where_it_is_nearly_zero(one: Case) -> None:
    seeds = (Case(one.operator, one.direction, one.dtype, one.size, seed) for seed in range(6))

    assert sum(margin(planted("element"), case) > 1 for case in seeds) >= 4


@pytest.mark.parametrize("bit", [18, 22, 27, 30, 31])
def test_one_flipped_bit_among_thousands_of_elements_is_found(bit: int) -> None:
    assert margin(planted("bit", bit=bit), FPN) > 1


def test_a_flipped_bit_below_the_rounding_errors_of_honest_sums_is_not_found() -> None:
    assert margin(planted("bit", bit=0), FPN) <= 1


@pytest.mark.parametrize(
    ("error", "operator", "size"),
    [
        ("bit", "relu", {"n": 500}),
        ("lane", "sort", {"n": 500}),
        ("tail", "cat", {"n": 500}),
        ("element", "softmax", {"n": 8, "c": 91}),
        ("element", "sum", {"n": 1000}),
        ("nan", "nan-relu", {"n": 64}),
        ("nan", "nan-conv2d", {"c": 8, "h": 12, "w": 12}),
        ("tf32", "bits-linear", {"n": 64, "k": 64}),
        ("bf16", "bits-conv2d", {"c": 64, "h": 16, "w": 16}),
        ("int16", "bits-linear", {"n": 64, "k": 64}),
        ("lane", "tied-topk", {"n": 400}),
        ("tail", "tied-nms", {"n": 400}),
    ],
)
def test_wrong_answers_of_other_operators_are_found(error: str, operator: str, size: dict[str, int]) -> None:
    assert margin(planted(error), case(operator, "forward", "fp32", size, seed=1)) > 1


@pytest.mark.parametrize(("error", "operator"), [("flush", "denormals"), ("ties", "tied-sort"), ("ties", "tied-topk")])
def test_what_may_differ_is_let_pass(error: str, operator: str) -> None:
    one = case(operator, "forward", "fp32", {"n": 400}, seed=2)
    inputs = inputs_of(one)
    if error == "ties":  # the two places that are swapped hold equal scores
        inputs = {**inputs, "x": torch.ones_like(inputs["x"])}
    result = planted(error).compute(one, inputs, lambda given: OPERATORS[operator].apply(one.sizes, given))

    answer = answer_of(one, inputs, reference_of(one, inputs), result)

    assert answer.margin <= 1


def test_two_places_swapped_that_hold_different_scores_are_found() -> None:
    one = case("tied-sort", "forward", "fp32", {"n": 2}, seed=0)
    inputs = {"x": torch.tensor([1.0, 2.0])}

    assert answer_of(one, inputs, Reference(torch.tensor([1, 0])), torch.tensor([0, 1])).margin > 1


@pytest.mark.parametrize("answer", [torch.tensor([1, 1, 0]), torch.tensor([1, 0, 3]), torch.tensor([1, 0])])
def test_places_that_come_twice_or_are_outside_or_too_few_are_found(answer: torch.Tensor) -> None:
    one = case("tied-sort", "forward", "fp32", {"n": 3}, seed=0)
    inputs = {"x": torch.tensor([2.0, 2.0, 2.0])}

    assert answer_of(one, inputs, Reference(torch.tensor([0, 1, 2])), answer).margin > 1


@pytest.mark.parametrize(
    ("operator", "direction"),
    [("linear", "fprop"), ("linear", "wgrad"), ("conv2d", "dgrad"), ("conv2d", "wgrad"), ("roi-align", "backward")],
)
def test_another_order_of_summation_gives_other_bits_and_is_let_pass(operator: str, direction: str) -> None:
    faults, one = planted("unordered"), case(operator, direction, "fp32", CATALOGUE[operator].quick[0], seed=1)
    inputs = inputs_of(one)
    reference = reference_of(one, inputs)

    def compute(given: Tensors) -> torch.Tensor:
        return OPERATORS[operator].compute(direction, one.sizes, given)

    first, second = (faults.compute(one, inputs, compute) for _ in range(2))

    assert not torch.equal(first, second)
    assert answer_of(one, inputs, reference, first).margin <= 1
    assert answer_of(one, inputs, reference, second).margin <= 1


def test_a_rare_fault_is_in_its_share_of_calls() -> None:
    faults, one = planted("tail", rate=0.25), case("relu", "forward", "fp32", {"n": 64})
    inputs = {"x": torch.ones(64)}

    wrong = sum(bool((faults.compute(one, inputs, lambda given: given["x"]) == 0).any()) for _ in range(400))

    assert 60 < wrong < 140  # 100 of 400; five standard deviations are 43


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"2 threads"}))  # which on a busy host wait for one another
def test_honest_arithmetic_is_let_pass(way: str) -> None:
    small = (one for one in quick_cases("fp32", False, 0) if max(one.sizes.values()) <= 512 and not one.layout)
    for seed, one in enumerate(small):
        shape = Case(one.operator, one.direction, one.dtype, one.size, seed, one.layout)
        inputs = inputs_of(shape)
        result = WAYS[way](shape, inputs)
        if result is not None:
            answer = answer_of(shape, inputs, reference_of(shape, inputs), result)
            assert answer.margin <= 1, (shape.name, answer)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_is_held_against_its_own_unit(dtype: str) -> None:
    one = Case(FC6.operator, FC6.direction, dtype, FC6.size, seed=1)
    inputs = inputs_of(one)
    reference = reference_of(one, inputs)
    single = {name: value.float() for name, value in inputs.items()}
    right = OPERATORS["linear"].compute("fprop", one.sizes, single).to(inputs["x"].dtype)
    wrong = right.clone()
    wrong.reshape(-1)[7] += 4.0

    assert answer_of(one, inputs, reference, right).margin <= 1
    assert answer_of(one, inputs, reference, wrong).margin > 1


def test_tf32_is_let_pass_where_the_row_says_so_and_bf16_is_not() -> None:
    size = tuple(sorted({"n": 32, "k": 2048, "m": 48}.items()))
    asked, declared = (Case("linear", "fprop", dtype, size, seed=3) for dtype in ("fp32", "tf32"))
    inputs = inputs_of(asked)

    def margin_as(one: Case, error: str) -> float:
        rounded = planted(error).compute(asked, inputs, lambda given: OPERATORS["linear"].apply(asked.sizes, given))
        return answer_of(one, inputs, reference_of(one, inputs), rounded).margin

    assert margin_as(asked, "tf32") > 1
    assert margin_as(declared, "tf32") <= 1
    assert margin_as(declared, "bf16") > 1
