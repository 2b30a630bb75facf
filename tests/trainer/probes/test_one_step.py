"""The one-step probe on planted errors, each found by the questions that are for it, and on honest arithmetic."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator

import pytest
import torch

from benchmarks.training.one_step import PLANTED, WAYS, judged, planted_faults, settings_of
from evidence.rank_file import EventLog
from evidence.verdict import Verdict
from trainer.devices.cpu import CpuBackend
from trainer.numerics.step_reference import StepReference, reference_of
from trainer.numerics.whole_step import Plan, plan_of
from trainer.probes.one_step import ask_one_step
from trainer.ranks import HostGroup, Ranks
from trainer.settings import Settings

SETTINGS = settings_of("fasterrcnn_tiny", 7)
PLAN = replace(plan_of(SETTINGS), steps=4)
FOUND_BY = {
    "TF32 in all products": {"gradients", "trajectory"},
    "bf16 in all products": {"gradients", "trajectory"},
    "TF32 in one layer": {"gradients"},
    "the tail of a gradient of one layer is 0": {"gradients"},
    "other last bits each time": {"replayed_step"},
    "a drift of 2^-18 n^2 in the n-th pass": {"trajectory", "replayed_step"},
}


@pytest.fixture(scope="module")
def reference() -> StepReference:
    torch.set_num_threads(1)
    return reference_of(PLAN)


@pytest.mark.parametrize("error", FOUND_BY)
def test_a_planted_error_is_found_by_the_questions_for_it(error: str, reference: StepReference) -> None:
    found = judged(PLAN, reference, SETTINGS, planted_faults(PLANTED[error], 1).in_step)

    assert {name for name, one in found.items() if one.verdict is Verdict.FAIL} == FOUND_BY[error]


def test_the_wrong_layer_is_named(reference: StepReference) -> None:
    fault = {"error": "lane", "direction": "wgrad", "layer": "roi_heads.box_head.fc6"}

    found = judged(PLAN, reference, SETTINGS, planted_faults(fault, 1).in_step)["gradients"]

    assert found.verdict is Verdict.FAIL
    assert found.reason.startswith("rank 0: roi_heads.box_head.fc6.weight: ")
    assert found.facts["worst"] == "roi_heads.box_head.fc6.weight"


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"2 threads"}))  # which on a busy host wait for one another
def test_honest_arithmetic_passes(way: str, reference: StepReference) -> None:
    found = judged(PLAN, reference, SETTINGS, lambda model: WAYS[way](model, PLAN.dtype))

    # The same draws each time would be needed for the same bits.
    held = {name: one for name, one in found.items() if name != "replayed_step" or "drawn" not in way}
    assert {one.verdict for one in held.values()} == {Verdict.PASS}, held


@pytest.fixture(scope="module")
def half() -> tuple[Plan, StepReference, Settings]:
    settings = settings_of("fasterrcnn_tiny", 7, "bf16")
    plan = replace(plan_of(settings), steps=2)
    return plan, reference_of(plan), settings


@pytest.mark.skipif(torch.__version__.startswith("1."), reason="torchvision 0.13 has no RoIAlign for bf16 on the CPU")
def test_autocast_in_bf16_passes(half: tuple[Plan, StepReference, Settings]) -> None:
    found = judged(*half, lambda model: torch.autocast("cpu", dtype=torch.bfloat16))

    assert {one.verdict for one in found.values()} == {Verdict.PASS}, found


def test_in_half_precision_a_wrong_gradient_is_found(half: tuple[Plan, StepReference, Settings]) -> None:
    found = judged(*half, planted_faults({"error": "tail", "direction": "wgrad", "layer": "."}, 1).in_step)

    assert found["gradients"].verdict is Verdict.FAIL


def written(folder: Path, backend: CpuBackend) -> Iterator[dict[str, Any]]:
    backend.device = torch.device("cpu")
    log = EventLog(folder, 0)
    ask_one_step(SETTINGS, backend, HostGroup(Ranks()), log)
    log.close()
    found = map(json.loads, log.path.read_text().splitlines())
    yield from (one for one in found if one["event"] != "progress")  # heartbeats, on a slow machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


class TestEvents:
    @pytest.fixture(autouse=True)
    def cache(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CONFORMANCE_CACHE", str(folder))

    def test_every_parameter_has_a_gradient_and_every_step_a_loss(self, tmp_path: Path) -> None:
        events = list(written(tmp_path, CpuBackend()))

        done = events[-1]
        assert done["event"] == "one_step"
        assert done["gradients"] == len(events) - 1 > 10
        assert len(done["losses"]) == len(done["expected"]) == len(done["spread"]) == 10
        assert (done["references"], done["error"]) == ("computed", "")
        assert {one["event"] for one in events[:-1]} == {"gradient"}
        assert all(one["digest"] and one["repeats"] == 1 and not one["unlike"] for one in events[:-1])

    def test_a_framework_that_cannot_is_no_crash(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unable(model: torch.nn.Module) -> Any:
            raise NotImplementedError("roi_align is not implemented for 'XPU'\nsecond line")

        backend = CpuBackend()
        monkeypatch.setattr(backend, "step_arithmetic", unable)

        (done,) = written(tmp_path, backend)

        assert done["error"] == "roi_align is not implemented for 'XPU'"
