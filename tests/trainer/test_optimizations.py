"""Every optimization that the ledger lists changes how fast a result comes, and no bit of the result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evidence.rank_file import EventLog
from tests.trainer.small import small_settings
from trainer.data.coco import GroundTruth
from trainer.data.loader import build_loaders
from trainer.data.scoring import rows_of
from trainer.devices import load_backend
from trainer.loop import staging
from trainer.loop.evaluate import Outcome, collector, detect
from trainer.loop.session import _prepare
from trainer.model.networks import build_model
from trainer.optimizations import NAMES, SWITCHED
from trainer.ranks import HostGroup, Ranks

STEPS = 10
OF_LOSSES = [one.name for one in SWITCHED if one.proof.endswith("::test_losses_are_the_same_without")]


def losses_of(shapes: Path, run_dir: Path, without: tuple[str, ...], workers: int, **changes: Any) -> list[float]:
    """Train ten steps of the steady protocol as a rank does, over 32 images, and return their losses."""
    run_dir.mkdir()
    settings = small_settings(
        shapes,
        run_dir,
        **{
            "model": "fasterrcnn_tiny",
            "protocol": "steady",
            "steps": STEPS,
            "steady_warmup": 0,
            "workers": workers,
            "batch_size": 4,  # so that ten steps reach into a second epoch
            "without": without,
            **changes,
        },
    )
    backend, ranks, log = load_backend(settings.device), Ranks(0, 0, 1, 1), EventLog(run_dir, 0)
    threads = torch.get_num_threads()
    backend.configure(None, rank=0, world_size=1)
    backend.open(0, 1)
    torch.set_num_threads(1)
    try:
        _prepare(settings, ranks, backend, log, HostGroup(ranks)).run()
    finally:
        torch.set_num_threads(threads)
    return [loss for event in events_of(run_dir) if event["event"] == "window" for loss in event["loss"]]


def events_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "rank-0000.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def losses_with_all(shapes: Path, tmp_path_factory: Any) -> list[float]:
    return losses_of(shapes, Path(str(tmp_path_factory.mktemp("all"))) / "run", (), workers=2)


@pytest.mark.parametrize("name", OF_LOSSES)
def test_losses_are_the_same_without(name: str, shapes: Path, tmp_path: Path, losses_with_all: list[float]) -> None:
    losses = losses_of(shapes, tmp_path / "run", (name,), workers=2)

    assert len(losses) == STEPS
    assert len(set(losses)) > 1
    assert losses == losses_with_all


@pytest.mark.parametrize(
    "device",
    ["virtual", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))],
)
def test_losses_are_the_same_when_copies_overlap(device: str, shapes: Path, tmp_path: Path) -> None:
    """On a device that has a way for copies beside its computing; the CPU has none, and both ways would be one."""
    ways = [(), ("overlapped_copies",)]

    losses = [losses_of(shapes, tmp_path / str(len(way)), way, 2, device=device) for way in ways]

    assert losses[0] == losses[1]
    assert len(set(losses[0])) > 1
    ledgers = [next(e for e in events_of(tmp_path / str(len(way))) if e["event"] == "optimizations") for way in ways]
    assert [one["on"] for e in ledgers for one in e["items"] if one["name"] == "overlapped_copies"] == [True, False]


@pytest.mark.parametrize("workers", [0, 2])
def test_losses_are_the_same_without_all_of_them(
    workers: int, shapes: Path, tmp_path: Path, losses_with_all: list[float]
) -> None:
    assert losses_of(shapes, tmp_path / "run", NAMES, workers) == losses_with_all


@pytest.mark.integration
def test_losses_of_a_model_with_batch_norm_are_the_same_without_all_of_them(shapes: Path, tmp_path: Path) -> None:
    losses = [
        losses_of(shapes, tmp_path / f"run{len(without)}", without, 0, model="fasterrcnn_resnet18_fpn_small")
        for without in ((), NAMES)
    ]

    assert losses[0] == losses[1]
    assert len(set(losses[0])) == STEPS


def test_losses_are_the_same_on_a_device_that_cannot_make_numbers_of_bytes(
    shapes: Path, tmp_path: Path, losses_with_all: list[float], monkeypatch: Any
) -> None:
    """The loader makes them then, as in the published runs, and the ledger says why."""
    floats = staging._floats

    def fake_floats(image: Any, mirrored: bool) -> Any:
        if image.dtype == torch.uint8:
            raise NotImplementedError("no kernel for bytes")
        return floats(image, mirrored)

    monkeypatch.setattr(staging, "_floats", fake_floats)

    losses = losses_of(shapes, tmp_path / "run", (), workers=2)

    assert losses == losses_with_all
    (message,) = (one for one in events_of(tmp_path / "run") if one["event"] == "optimizations")
    off = {one["name"]: one["why"] for one in message["items"] if one["name"] == "bytes_on_device" and not one["on"]}
    assert off == {
        "bytes_on_device": "this device could not make numbers of bytes: NotImplementedError: no kernel for bytes"
    }


def test_another_seed_gives_other_losses(shapes: Path, tmp_path: Path, losses_with_all: list[float]) -> None:
    losses = losses_of(shapes, tmp_path / "run", (), 0, seed=1)

    assert len(losses) == STEPS
    assert not set(losses) & set(losses_with_all)


class InDoublePrecision(torch.nn.Module):
    """A small model whose numbers do not depend on which images share a batch, which in fp32 the last digits do."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.model = build_model(settings).double().eval()

    def forward(self, images: list[Any]) -> Any:
        return self.model([image.double() for image in images])


def found_by(model: Any, settings: Any, truth: Any = None) -> tuple[Outcome, np.ndarray, list[set[Any]]]:
    """Evaluate; return the outcome, the detections in order of their images, and the shapes within each batch."""
    backend, threads = load_backend("cpu"), torch.get_num_threads()
    backend.open(0, 1)
    torch.set_num_threads(threads)
    loaders = build_loaders(settings, rank=0, world_size=1, pin_memory=False)
    scores = collector(settings, truth or loaders.ground_truth)
    rows: list[np.ndarray] = []

    def found(image_ids: Any, outputs: Any) -> None:
        rows.append(rows_of(image_ids, outputs))
        scores.add(image_ids, outputs)

    detect(model, loaders.val, backend, found)
    shapes = [{tuple(image.shape) for image in batch.images} for batch in loaders.val]
    every = np.concatenate(rows)
    return scores.outcome(HostGroup(Ranks()), lambda reached: False), every[every[:, 0].argsort(kind="stable")], shapes


def test_map_is_the_same_without_grouping(shapes: Path, tmp_path: Path) -> None:
    # Of all shapes that these images have, this model makes squares of one size, so that none is padded for another.
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", batch_size=3)
    model = InDoublePrecision(settings)
    _, alone, _ = found_by(model, replace(settings, batch_size=1))
    # The truth is near to some of what was found, so that the map is one of a model that finds things.
    some = alone[::3] + np.array([0, 2, -1, 3, 2, 0, 0])
    truth = truth_near(build_loaders(settings, rank=0, world_size=1, pin_memory=False).ground_truth, some)

    grouped, in_groups, shapes_in_groups = found_by(model, settings, truth)
    ungrouped, in_order, shapes_in_order = found_by(model, replace(settings, without=("grouped_evaluation",)), truth)

    np.testing.assert_allclose(in_groups, alone, rtol=0, atol=1e-4)
    np.testing.assert_allclose(in_order, alone, rtol=0, atol=1e-4)
    assert ungrouped.facts["stats"] == pytest.approx(grouped.facts["stats"], rel=0, abs=1e-9)
    assert 0.05 < grouped.map < 0.95
    portrait_and_landscape = [len({height > width for _, height, width in one}) == 2 for one in shapes_in_order]
    assert any(portrait_and_landscape)
    assert max(len(one) for one in shapes_in_groups) < max(len(one) for one in shapes_in_order)


def truth_near(truth: GroundTruth, boxes: np.ndarray) -> GroundTruth:
    """The same images and categories with other boxes, rows of detections."""
    return replace(
        truth,
        ids=np.arange(1, len(boxes) + 1),
        image_of=boxes[:, 0].astype(np.int64),
        category_of=boxes[:, 6].astype(np.int64),
        boxes=boxes[:, 1:5],
        areas=boxes[:, 3] * boxes[:, 4],
        crowd=np.zeros(len(boxes), dtype=bool),
    )
