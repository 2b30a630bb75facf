"""The host's part of the one-step probe, and how it is kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.training.one_step import settings_of
from trainer.numerics.step_reference import StepReference, obtain
from trainer.numerics.whole_step import LOSSES, plan_of
from trainer.ranks import HostGroup, Ranks

PLAN = replace(plan_of(settings_of("fasterrcnn_tiny", 4)), steps=2)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path))
    torch.set_num_threads(1)
    return tmp_path / "references"


def obtained() -> tuple[StepReference, str, str]:
    return obtain(PLAN, HostGroup(Ranks()))


def is_same(one: StepReference, other: StepReference) -> bool:
    pairs = [(one.gradients, other.gradients), *zip(one.decisions, other.decisions)]
    same = all(
        list(mine) == list(theirs) and all(map(torch.equal, mine.values(), theirs.values())) for mine, theirs in pairs
    )
    numbers = [(found.honest, list(found.losses), list(found.spread)) for found in (one, other)]
    return same and numbers[0] == numbers[1]


def test_what_is_read_is_what_was_computed() -> None:
    (first, source, why), (second, later, _) = obtained(), obtained()

    assert (source, later, why) == ("computed", "cache", "")
    assert is_same(first, second)
    assert len(first.decisions) == len(first.losses) == len(first.spread) == 2
    assert {LOSSES, "rpn.head.conv.0.0.weight"} < set(first.gradients)
    assert all(one.worst > 0 for name, one in first.honest.items() if name != LOSSES)


def test_another_plan_is_another_entry(folder: Path) -> None:
    obtained()
    obtain(replace(PLAN, seed=5), HostGroup(Ranks()))

    assert len(list(folder.iterdir())) == 2


def test_a_damaged_entry_is_computed_again(folder: Path) -> None:
    first, _, _ = obtained()
    (entry,) = folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])

    again, source, _ = obtained()

    assert source == "computed"
    assert is_same(first, again)


def test_without_a_folder_it_is_computed_and_it_is_said(folder: Path) -> None:
    folder.write_text("a file in the way")

    _, source, why = obtained()

    assert source == "computed"
    assert str(folder) in why
