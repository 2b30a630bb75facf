"""Settings: checked where they are built, and the same after a trip through the command line."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.events.setup import Start
from expected import Recipe
from trainer.errors import SettingsError
from trainer.optimizations import NAMES
from trainer.settings import MODELS, OPTIONS, PRECISIONS, Settings, parse, pytest_options, to_flags


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {"run_dir": Path("run"), "data": Path("coco"), "pretrained_backbone": False}
    values.update(changes)
    return Settings(**values)


def test_the_defaults_are_the_benchmarks_recipe() -> None:
    recipe = Recipe()

    defaults = {field.name: field.default for field in fields(Settings)}

    for field in fields(Recipe):
        assert defaults[field.name] == getattr(recipe, field.name), field.name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"protocol": "quick"}, "protocol is 'quick'; it must be one of full, epoch, steady"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"model": "yolo"}, "model is 'yolo'"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"attempt": -1}, "attempt is -1; it must be at least 0"),
        ({"checkpoint_steps": -1}, "checkpoint_steps is -1; it must be at least 0"),
        ({"window": 0}, "window is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"num_classes": 1}, "num_classes is 1"),
        ({"gradient_clip": float("nan")}, "gradient_clip is nan"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"horizontal_flip": 1.5}, "horizontal_flip is 1.5"),
        ({"sample_interval_s": 0.0}, "sample_interval_s is 0.0"),
        ({"sample_interval_s": 11.0}, "sample_interval_s is 11.0; it must be more than 0 and at most 10"),
        ({"smi": "some-smi"}, "smi is 'some-smi'; it must be one of ixsmi, mx-smi, nvml, xpu_smi"),
        ({"protocol": "steady"}, "protocol steady with steps None"),
        ({"precision": "tf32"}, "precision is 'tf32' and tf32 is False"),
        ({"steps": 5}, "protocol full with steps 5"),
        ({"protocol": "steady", "steps": 0}, "steps is 0"),
        ({"pretrained_backbone": True}, "--backbone FILE"),
    ],
)
def test_settings_that_cannot_run_are_refused_by_name(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=r"\w") as raised:
        settings(**changes)

    assert says in str(raised.value)


@given(
    model=st.sampled_from(MODELS),
    precision=st.sampled_from(PRECISIONS),
    batch_size=st.integers(1, 512),
    learning_rate=st.floats(1e-6, 9.0),
    milestones=st.lists(st.integers(1, 30), max_size=3).map(tuple),
    tf32=st.booleans(),
    lowered=st.sampled_from([(), ("NVIDIA_TF32_OVERRIDE=1", "XDNN_CONV_GEMM_DTYPE=int16")]),
    steps=st.none() | st.integers(1, 10_000),
    sample_interval_s=st.floats(0.1, 10.0),
    folder=st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1),
)
def test_flags_and_settings_say_the_same(folder: str, milestones: Any, steps: int | None, **changes: Any) -> None:
    changes["tf32"] = changes["tf32"] or changes["precision"] == "tf32"
    wanted = settings(
        data=Path("/data") / folder,
        lr_milestones=milestones,
        steps=steps,
        protocol="full" if steps is None else "steady",
        **changes,
    )

    assert parse(to_flags(wanted)) == wanted


def test_an_unknown_flag_ends_the_program(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        parse(["--run-dir=a", "--data=b", "--batchsize=3"])

    assert "--batchsize" in capsys.readouterr().err


def test_a_boolean_flag_takes_true_or_false_only(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        parse(["--run-dir=a", "--data=b", "--tf32=yes"])

    assert "neither True nor False" in capsys.readouterr().err


def test_a_passed_through_option_is_checked_where_pytest_parses_it() -> None:
    declared = pytest_options()

    assert list(declared) == [
        "--steps",
        "--checkpoint-steps",
        "--bucket-mb",
        "--numerics",
        "--links",
        "--sample-interval",
        "--without",
    ]
    assert declared["--bucket-mb"]["type"]("25") == 25
    with pytest.raises(argparse.ArgumentTypeError, match="bucket_mb is 0; it must be at least 1"):
        declared["--bucket-mb"]["type"]("0")
    assert declared["--without"]["choices"] == NAMES
    assert (declared["--without"]["action"], declared["--without"]["default"]) == ("append", [])
    assert {arguments["dest"] for arguments in declared.values()} <= {option.name for option in OPTIONS}


def test_what_is_recorded_are_fields_of_the_start_event() -> None:
    recorded = settings(without=("boxes_only",), bucket_mb=8).recorded()

    assert recorded.keys() < {field.name for field in fields(Start)}
    assert (recorded["without"], recorded["bucket_mb"]) == (("boxes_only",), 8)


def test_collecting_tests_can_read_the_options_without_torch_or_numpy() -> None:
    program = "import sys, trainer.settings; print({'torch', 'numpy', 'psutil', 'pynvml'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
