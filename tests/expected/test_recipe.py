"""Overrides of the recipe."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from expected import ExpectationError, Recipe
from expected.recipe import deviations
from tests.expected.sample import GOOD, change, load


def test_a_file_without_overrides_trains_by_the_benchmarks_recipe(tmp_path: Path) -> None:
    device = load(tmp_path, change("[recipe]\nepochs = 20\n", ""))
    assert [cell.recipe for cell in device.cells] == [Recipe(), Recipe()]


def test_an_override_of_a_cell_goes_on_top_of_that_of_the_file(tmp_path: Path) -> None:
    device = load(tmp_path, GOOD + "[cell.recipe]\ntf32 = true\nlr_milestones = []\n")
    assert device.cells[0].recipe == Recipe(epochs=20)
    assert device.cells[1].recipe == Recipe(epochs=20, tf32=True, lr_milestones=())


def test_every_field_is_read_as_it_is_written(tmp_path: Path) -> None:
    written = """
model = "fasterrcnn_resnet18_fpn_small"
num_classes = 4
pretrained_backbone = false
momentum = 0.8
weight_decay = 0
lr_milestones = [3, 5]
lr_gamma = 0.5
warmup_steps = 50
warmup_factor = 0.01
epochs = 8
target_map = 0.3
horizontal_flip = 0
aspect_ratio_groups = 1
workers = 0
seed = 7
gradient_clip = 10
tf32 = true
deterministic = true
cudnn_benchmark = true
lowered = { XDNN_CONV_GEMM_DTYPE = "int16", NVIDIA_TF32_OVERRIDE = "1" }
"""
    recipe = load(tmp_path, change("\nepochs = 20\n", written)).cells[0].recipe
    assert asdict(recipe) == {
        "model": "fasterrcnn_resnet18_fpn_small",
        "num_classes": 4,
        "pretrained_backbone": False,
        "momentum": 0.8,
        "weight_decay": 0.0,
        "lr_milestones": (3, 5),
        "lr_gamma": 0.5,
        "warmup_steps": 50,
        "warmup_factor": 0.01,
        "epochs": 8,
        "target_map": 0.3,
        "horizontal_flip": 0.0,
        "aspect_ratio_groups": 1,
        "workers": 0,
        "seed": 7,
        "gradient_clip": 10.0,
        "tf32": True,
        "deterministic": True,
        "cudnn_benchmark": True,
        "lowered": ("NVIDIA_TF32_OVERRIDE=1", "XDNN_CONV_GEMM_DTYPE=int16"),
    }


BAD = [
    ("model", "''"),
    ("num_classes", "1"),
    ("pretrained_backbone", "0"),
    ("momentum", "1.0"),
    ("momentum", "-0.1"),
    ("weight_decay", "1"),
    ("lr_milestones", "16"),
    ("lr_milestones", "[22, 16]"),
    ("lr_milestones", "[16, 16]"),
    ("lr_milestones", "[0]"),
    ("lr_milestones", "[true]"),
    ("lr_gamma", "0"),
    ("lr_gamma", "1.1"),
    ("warmup_steps", "-1"),
    ("warmup_factor", "0"),
    ("epochs", "0"),
    ("target_map", "36"),
    ("horizontal_flip", "1.5"),
    ("aspect_ratio_groups", "0"),
    ("workers", "-1"),
    ("seed", "-1"),
    ("gradient_clip", "-1"),
    ("tf32", "1"),
    ("deterministic", "1"),
    ("lowered", '"XDNN_CONV_GEMM_DTYPE=int16"'),
]

NOT_LOWERING = [
    ("XDNN_CONV_GEMM_DTYPE", "float32"),
    ("XDNN_CONV_GEMM_DTYPE", "int16,int8"),
    ("NVIDIA_TF32_OVERRIDE", "0"),
    ("NCCL_ALGO", "Ring"),
    ("HOME", "/root"),
]


@pytest.mark.parametrize(("name", "value"), NOT_LOWERING)
def test_a_row_declares_only_variables_that_are_known_to_lower_precision(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(
        ExpectationError, match=rf"recipe\.lowered\.{name}: found .*{value}.*; known are .*METAX_USE_TF32"
    ):
        load(tmp_path, change("epochs = 20", f'lowered = {{ {name} = "{value}" }}'))


def test_rows_that_differ_in_tf32_alone_need_ids_of_their_own(tmp_path: Path) -> None:
    second = GOOD[GOOD.rindex("[[cell]]") :] + "[cell.recipe]\ntf32 = true\n"

    with pytest.raises(ExpectationError, match=r'cell\[3\]: has the id .* of cell\[2\]; .*write precision = "tf32"'):
        load(tmp_path, GOOD + second)

    device = load(tmp_path, GOOD + second.replace('precision = "amp"', 'precision = "tf32"'))
    assert [cell.id for cell in device.cells[1:]] == ["x100-1x8-amp-bs2", "x100-1x8-tf32-bs2"]


@pytest.mark.parametrize("override", ["", "[cell.recipe]\ntf32 = false\n"])
def test_a_row_of_tf32_has_it_in_its_recipe_and_in_its_id(tmp_path: Path, override: str) -> None:
    device = load(tmp_path, change('precision = "amp"', 'precision = "tf32"') + override)

    assert [(cell.precision, cell.recipe.tf32) for cell in device.cells] == [("fp32", False), ("tf32", True)]
    assert "-tf32-" in device.cells[1].id


@pytest.mark.parametrize(("key", "written"), BAD, ids=[f"{key}={written}" for key, written in BAD])
def test_a_field_out_of_range_is_refused_in_the_file_and_in_a_cell(tmp_path: Path, key: str, written: str) -> None:
    with pytest.raises(ExpectationError, match=rf"^x100\.toml: recipe\.{key}: found .*, expected "):
        load(tmp_path, change("epochs = 20", f"{key} = {written}"))
    with pytest.raises(ExpectationError, match=rf"^x100\.toml: cell\[2\]\.recipe\.{key}: found .*, expected "):
        load(tmp_path, GOOD + f"[cell.recipe]\n{key} = {written}\n")


def test_an_unknown_field_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(ExpectationError, match=r"x100\.toml: recipe\.epoch: unknown key; did you mean epochs\?"):
        load(tmp_path, change("epochs = 20", "epoch = 20"))
    with pytest.raises(ExpectationError, match=r"cell\[2\]\.recipe\.warmup_step: .*did you mean warmup_steps\?"):
        load(tmp_path, GOOD + "[cell.recipe]\nwarmup_step = 2\n")


@pytest.mark.parametrize("written", ["recipe = 3", "recipe = [1]"])
def test_a_recipe_that_is_not_a_table_is_refused(tmp_path: Path, written: str) -> None:
    with pytest.raises(ExpectationError, match=r"x100\.toml: cell\[2\]\.recipe: found .*, expected a table"):
        load(tmp_path, GOOD + written + "\n")


def test_the_benchmarks_recipe_deviates_in_nothing() -> None:
    assert deviations(Recipe()) == ()


def test_every_field_that_is_not_the_benchmarks_is_named_beside_the_benchmarks() -> None:
    own = Recipe(tf32=True, lr_milestones=(), gradient_clip=10.0, workers=0)

    assert deviations(own) == (
        "lr_milestones: none, the benchmark's is 16, 22",
        "workers: 0, the benchmark's is 4",
        "gradient_clip: 10, the benchmark's is 0",
        "tf32: true, the benchmark's is false",
    )
