"""The optimization ledger: complete, honest about what a run cannot have, with a proof that exists for each item."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.events.setup import SWITCHED_OFF
from trainer.devices import load_backend
from trainer.errors import SettingsError
from trainer.optimizations import (
    ALWAYS,
    DECLARED,
    NAMES,
    OF_THE_ROW,
    OWN_ROW,
    SWITCHED,
    Optimization,
    ledger,
    unavailable,
)
from trainer.settings import Settings, parse, to_flags

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(Path("run"), Path("data"), pretrained_backbone=False)


def functions_of(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def states(settings: Settings, **absent: str) -> dict[str, tuple[bool, str]]:
    return {item.name: (item.on, item.why) for item in ledger(settings, absent)}


@pytest.mark.parametrize("one", SWITCHED, ids=lambda one: one.name)
def test_each_item_names_a_test_that_there_is(one: Optimization) -> None:
    file, _, function = one.proof.partition("::")

    assert function in functions_of(ROOT / file)


def test_what_changes_results_needs_a_row_of_its_own_and_has_no_proof() -> None:
    assert {(one.allowed, one.proof) for one in OF_THE_ROW} == {(OWN_ROW, "")}
    assert {one.allowed for one in SWITCHED} == {ALWAYS, DECLARED}


def test_no_two_items_share_a_name() -> None:
    names = [one.name for one in (*SWITCHED, *OF_THE_ROW)]

    assert len(set(names)) == len(names)


def test_everything_is_on_by_default_except_what_the_row_decides() -> None:
    of_row = ("tf32", "deterministic", "cudnn_benchmark", "mixed_precision")
    assert states(SETTINGS) == {**dict.fromkeys(NAMES, (True, "")), **dict.fromkeys(of_row, (False, ""))}


def test_what_was_switched_off_says_so_and_what_a_run_cannot_have_says_why() -> None:
    found = states(replace(SETTINGS, without=("boxes_only",)), static_graph="there is one rank", boxes_only="no")

    assert found["boxes_only"] == (False, SWITCHED_OFF)
    assert found["static_graph"] == (False, "there is one rank")
    assert [name for name, (on, _) in found.items() if name in NAMES and not on] == ["boxes_only", "static_graph"]


def test_a_row_of_another_precision_or_tf32_is_told() -> None:
    found = states(replace(SETTINGS, tf32=True, precision="amp"))

    assert found["tf32"] == found["mixed_precision"] == (True, "")


def test_a_row_of_tf32_is_no_mixed_precision_and_how_cudnn_chooses_is_told() -> None:
    found = states(replace(SETTINGS, tf32=True, precision="tf32", deterministic=True, cudnn_benchmark=True))

    assert found["tf32"] == found["deterministic"] == found["cudnn_benchmark"] == (True, "")
    assert found["mixed_precision"] == (False, "")


ONE_RANK = {"buffers_left_alone", "gradient_views", "static_graph"}


@pytest.mark.parametrize(
    ("backend", "changes", "names"),
    [
        ("cuda", {}, set()),
        ("virtual", {}, set()),
        ("cuda", {"workers": 0}, {"persistent_workers", "batches_ahead", "overlapped_copies"}),
        ("cuda", {"without": ("batches_ahead",)}, {"overlapped_copies"}),
        ("cpu", {}, {"overlapped_copies"}),
        ("kunlunxin", {}, {"overlapped_copies"}),
        ("cuda", {"protocol": "steady", "steps": 3}, {"grouped_evaluation", "scored_once", "fast_scoring"}),
        ("cuda", {"without": ("scored_once",)}, {"fast_scoring"}),
    ],
)
def test_what_settings_and_backend_rule_out_has_a_reason(
    backend: str, changes: dict[str, Any], names: set[str]
) -> None:
    absent = unavailable(replace(SETTINGS, **changes), load_backend(backend), 1)

    assert set(absent) == ONE_RANK | names
    assert all(absent.values())
    if backend in ("cpu", "kunlunxin"):
        assert absent["overlapped_copies"] == f"the {backend} backend has no stream beside the one that computes"


def test_the_flags_bring_the_names_to_the_trainer() -> None:
    settings = replace(SETTINGS, without=NAMES)

    assert parse(to_flags(settings)) == settings
    assert not any(map(settings.uses, NAMES))


def test_a_name_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SettingsError, match="without is 'speed'; it must be one of boxes_only"):
        replace(SETTINGS, without=("speed",))
    with pytest.raises(SettingsError, match="optimization is 'speed'"):
        SETTINGS.uses("speed")
