"""The fp64 reference, the honest orders of summation, and the cache that keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import trainer.numerics.products
from trainer.numerics.cache import References
from trainer.numerics.cases import Case, case, full_cases, quick_cases, repeats_of
from trainer.numerics.catalogue import CATALOGUE, OPERATOR, may_vary, questions, recorded_sizes
from trainer.numerics.operators import Draw, load
from trainer.numerics.products import Product
from trainer.numerics.reference import (
    figures_of,
    forget_inputs,
    in_parts,
    inputs_of,
    reference_of,
    sample_of,
    sequential,
)
from trainer.ranks import HostGroup, Ranks

OPERATORS = load()
SIZES = {
    "linear": {"n": 5, "k": 33, "m": 7},
    "conv2d": {"n": 2, "cin": 5, "h": 9, "w": 8, "cout": 3, "k": 3, "stride": 2},
    "conv-bn-relu": {"n": 2, "cin": 4, "h": 7, "w": 9, "cout": 6, "k": 3, "stride": 1},
}


def test_everything_in_the_catalogue_can_be_computed_and_nothing_else() -> None:
    assert list(OPERATORS)
    assert set(OPERATORS) == set(CATALOGUE)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize(
    ("operator", "direction"),
    [(name, direction) for name in SIZES for direction in CATALOGUE[name].directions],
)
def test_the_terms_of_each_element_add_up_to_it(operator: str, direction: str, kernel: int, stride: int) -> None:
    size = dict(SIZES[operator])
    if "k" in size and "cin" in size:
        size.update(k=kernel, stride=stride)
    inputs = {name: one.double() for name, one in OPERATORS[operator].inputs(size, Draw(4)).items()}
    result = OPERATORS[operator].compute(direction, size, inputs)

    terms = OPERATORS[operator].terms(direction, size, inputs, torch.arange(result.numel()))

    assert terms is not None
    found = OPERATORS[operator].finish((terms[0] * terms[1]).sum(1)).reshape(result.shape)
    assert torch.allclose(found, result, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("operator", "direction"),
    [(name, direction) for name in ("linear", "conv2d") for direction in CATALOGUE[name].directions],
)
def test_a_product_with_its_channels_folded_is_the_signed_sums_of_its_channels(
    operator: str, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.numerics.products, "GROUP", 4)
    product, size = OPERATORS[operator], SIZES[operator]
    assert isinstance(product, Product)
    inputs = {name: one.double() for name, one in product.inputs(size, Draw(4)).items()}
    result = product.compute(direction, size, inputs)
    axis = 0 if direction in ("wgrad", "bgrad") else 1
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0] * 7, dtype=torch.float64)[: result.shape[axis]]

    folded = product.folded(direction, inputs, signs)

    if direction != "bgrad":  # which is too small to be sampled
        assert folded is not None
        parts = zip(result.split(4, axis), signs.split(4))
        expected = torch.stack([torch.tensordot(part, few, dims=([axis], [0])) for part, few in parts], axis)
        assert torch.allclose(product.compute(direction, size, folded), expected, rtol=1e-12, atol=1e-12)
    assert product.shape(direction, inputs) == result.shape


class TestSampled:
    """Of a product that is too large to be computed whole."""

    ONE = case("linear", "fprop", "fp32", {"n": 600, "k": 700, "m": 300}, seed=3)

    def figures(self, change: float, at: int) -> tuple[float, bool]:
        inputs = inputs_of(self.ONE)
        result = OPERATORS["linear"].compute("fprop", self.ONE.sizes, inputs)
        result.reshape(-1)[at] += change
        found = figures_of(self.ONE, inputs, reference_of(self.ONE, inputs), result)
        return found.worst, found.in_sums

    def test_some_elements_and_all_sums_are_compared(self) -> None:
        inputs = inputs_of(self.ONE)
        sample, reference = sample_of(self.ONE, inputs), reference_of(self.ONE, inputs)

        assert sample is not None
        assert reference.result.numel() == len(sample.picked) + 600 * 5  # groups of 64 of 300 channels
        worst, _ = self.figures(0.0, 0)
        assert worst <= 16

    @pytest.mark.parametrize("at", [0, 77_777, 179_999])
    def test_one_wrong_element_that_was_not_picked_is_found_in_its_sum(self, at: int) -> None:
        sample = sample_of(self.ONE, inputs_of(self.ONE))
        assert sample is not None
        assert at not in sample.picked

        worst, in_sums = self.figures(2.0**-11, at)

        assert worst > 16
        assert in_sums

    def test_a_wrong_element_that_was_picked_is_found_more_finely(self) -> None:
        sample = sample_of(self.ONE, inputs_of(self.ONE))
        assert sample is not None

        worst, in_sums = self.figures(2.0**-12, int(sample.picked[5]))

        assert worst > 16
        assert not in_sums

    def test_a_result_of_another_shape_is_wrong_everywhere(self) -> None:
        inputs = inputs_of(self.ONE)

        found = figures_of(self.ONE, inputs, reference_of(self.ONE, inputs), torch.zeros(300, 600))

        assert (found.wrong, found.worst) == (180_000, float("inf"))


def test_the_full_probe_has_the_quick_one_and_each_recorded_size_once() -> None:
    quick, full = ([*cases("fp32", False, 0)] for cases in (quick_cases, full_cases))

    assert full[: len(quick)] == quick
    assert len(set(full)) == len(full)
    assert {(one.operator, one.size) for one in full} > {
        (name, tuple(sorted(size.items()))) for name, size in recorded_sizes()
    }
    assert {repeats_of(one) for one in full[len(quick) :]} == {1}


@pytest.mark.parametrize(
    ("operator", "size"),
    [
        ("linear", {"n": 512, "k": 12544, "m": 1024}),
        ("conv2d", {"n": 2, "cin": 256, "h": 200, "w": 336, "cout": 256, "k": 3, "stride": 1}),
        ("conv2d", {"n": 1, "cin": 3, "h": 800, "w": 1344, "cout": 64, "k": 7, "stride": 2}),
        ("cross-entropy", {"n": 512, "c": 91}),
    ],
)
def test_sizes_of_a_real_step_are_recorded(operator: str, size: dict[str, int]) -> None:
    assert (operator, size) in [*recorded_sizes()]


def test_sequential_adds_one_after_the_other_and_parts_apart() -> None:
    # In fp32 2^24 + 1 is 2^24: one after the other the ones are lost, in parts they are not.
    row = np.array([[2.0**24] + [1.0] * 15], dtype=np.float32)

    assert sequential(row)[0] == 2.0**24
    assert in_parts(row, 8)[0] == 2.0**24 + 14


@pytest.mark.parametrize("operator", ["sum", "conv2d", "roi-align", "cross-entropy"])
def test_the_condition_is_never_less_than_the_result(operator: str) -> None:
    for direction in CATALOGUE[operator].directions:
        one = case(operator, direction, "fp32", CATALOGUE[operator].quick[-1], seed=5)
        reference = reference_of(one, inputs_of(one))
        assert reference.condition is not None
        assert bool((reference.condition >= reference.result.abs() * (1 - 1e-9)).all())


def test_inputs_are_those_of_the_seed() -> None:
    one = case("linear", "fprop", "fp32", SIZES["linear"], seed=6)

    first = inputs_of(one)
    forget_inputs()

    assert torch.equal(inputs_of(one)["x"], first["x"])
    assert not torch.equal(
        inputs_of(one)["x"], inputs_of(case("linear", "fprop", "fp32", SIZES["linear"], seed=7))["x"]
    )


def test_strided_inputs_have_the_same_numbers_and_are_not_contiguous() -> None:
    one = case("linear", "fprop", "fp32", SIZES["linear"], seed=6)
    strided = case("linear", "fprop", "fp32", SIZES["linear"], 6, "strided")

    assert torch.equal(inputs_of(strided)["x"], inputs_of(one)["x"])
    assert not inputs_of(strided)["x"].is_contiguous()


def test_every_case_belongs_to_a_question() -> None:
    asked = {
        question for group in {kind.asked for kind in CATALOGUE.values()} for question in questions("amp", False, group)
    }

    assert {one.question for one in quick_cases("amp", False, 0)} == asked
    assert "conv2d-dgrad-fp16" in asked
    assert "conv2d-dgrad-tf32" in set(questions("fp32", True, OPERATOR))
    assert "conv2d-dgrad-fp32" not in set(questions("fp32", True, OPERATOR))


@pytest.mark.parametrize(
    ("operator", "direction", "deterministic", "measured", "varies"),
    [
        ("conv2d", "fprop", False, False, False),
        ("conv2d", "wgrad", False, False, True),
        ("conv2d", "wgrad", True, False, False),
        ("conv2d", "fprop", False, True, True),
        ("conv-bn-relu", "fprop", False, True, True),
        ("linear", "fprop", False, True, False),
        ("roi-align", "backward", True, False, True),
    ],
)
def test_bits_may_vary_as_the_switches_of_cudnn_say(
    operator: str, direction: str, deterministic: bool, measured: bool, varies: bool
) -> None:
    reason = may_vary(CATALOGUE[operator], direction, deterministic=deterministic, benchmark=measured)

    assert bool(reason) == varies


class TestCache:
    CASES = (
        case("linear", "fprop", "fp32", SIZES["linear"], seed=1),
        case("relu", "forward", "bf16", {"n": 40}, seed=1),
        case("tied-topk", "forward", "fp32", {"n": 400}, seed=1),
    )

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path))
        return tmp_path / "references"

    def group(self) -> HostGroup:
        return HostGroup(Ranks())

    def is_same(self, one: Case, references: References) -> bool:
        found, expected = references.of(one), reference_of(one, inputs_of(one))
        same = torch.equal(found.result, expected.result) and found.result.dtype == expected.result.dtype
        return same and (found.worst, found.rmse, found.rms) == (expected.worst, expected.rmse, expected.rms)

    def test_what_is_read_is_what_was_computed(self) -> None:
        first = References(self.CASES, self.group())
        second = References(self.CASES, self.group())

        assert (first.computed, second.computed, second.why) == (3, 0, "")
        assert all(self.is_same(one, second) for one in self.CASES)
        assert second.computed == 0

    @pytest.mark.parametrize("damage", [b"", b"\0" * 500, None])
    def test_a_damaged_entry_is_computed_again(self, folder: Path, damage: bytes | None) -> None:
        References(self.CASES, self.group())
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)

        again = References(self.CASES, self.group())

        assert again.computed == 3
        assert all(self.is_same(one, again) for one in self.CASES)

    def test_without_a_folder_everything_is_computed_and_it_is_said(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.parent.mkdir(exist_ok=True)
        folder.write_text("a file in the way")

        references = References(self.CASES, self.group())

        assert str(folder) in references.why
        assert all(self.is_same(one, references) for one in self.CASES)
