"""mAP is pycocotools' own over the whole ground truth, however many ranks share the images."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.forked import run_two_ranks
from tests.trainer.scoring_data import made_up, plain, truth_of
from tests.trainer.small import small_settings
from trainer.data import scoring
from trainer.data.loader import build_loaders
from trainer.data.scoring import FAST, REFERENCE, Score, rows_of, score_rows, version
from trainer.data.shapes import ensure
from trainer.devices import load_backend
from trainer.errors import DataError
from trainer.loop.evaluate import Outcome, PublishedScores, collector, detect
from trainer.ranks import HostGroup, Ranks


def guesses(image_id: int, annotations: list[dict[str, Any]]) -> list[list[float]]:
    """Return x, y, width, height, score and category of detections near the truth, the same for the same image."""
    rng = np.random.RandomState(image_id)
    rows = []
    for one in annotations:
        for _ in range(rng.randint(0, 4)):
            box = np.asarray(one["bbox"]) + rng.uniform(-6, 6, 4)
            category = one["category_id"] if rng.rand() < 0.8 else rng.randint(1, 4)
            rows.append([*box[:2], *np.maximum(box[2:], 1), round(rng.rand(), 1), category])  # rounded: many ties
    rows += [[*rng.uniform(0, 60, 2), *rng.uniform(5, 40, 2), round(rng.rand(), 1), rng.randint(1, 4)]] * 2
    # To float32, as a detector gives them, so that both ways of scoring are handed the same numbers.
    return [[float(np.float32(value)) for value in row] for row in rows]


class NoisyOracle(torch.nn.Module):
    """Looks an image up by its pixels and answers with the guesses for it."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        from PIL import Image

        content = json.loads((data / "annotations" / "instances_val2017.json").read_text())
        self._rows = {}
        for image in content["images"]:
            pixels = np.asarray(Image.open(data / "val2017" / image["file_name"]).convert("RGB"))
            own = [one for one in content["annotations"] if one["image_id"] == image["id"]]
            self._rows[pixels.tobytes()] = guesses(image["id"], own)

    def forward(self, images: list[Any]) -> list[dict[str, Any]]:
        outputs = []
        for image in images:
            pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
            rows = torch.tensor(self._rows[pixels.tobytes()], dtype=torch.float32)
            boxes = torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4]], dim=1)
            outputs.append({"boxes": boxes, "scores": rows[:, 4], "labels": rows[:, 5].to(torch.int64)})
        return outputs


WAYS = [(), ("fast_scoring",), ("grouped_evaluation",), ("scored_once",), ("grouped_evaluation", "scored_once")]
"""What is switched off."""


def evaluate(data: Path, run_dir: Path, group: HostGroup, without: tuple[str, ...], decisive: bool = True) -> Outcome:
    backend, ranks = load_backend("cpu"), group.ranks
    backend.open(ranks.local_rank, ranks.local_world_size)
    settings = small_settings(data, run_dir, without=without)
    loaders = build_loaders(settings, rank=ranks.rank, world_size=ranks.world_size, pin_memory=False)
    scores = collector(settings, loaders.ground_truth)
    detect(NoisyOracle(data), loaders.val, backend, scores.add)
    return scores.outcome(group, lambda reached: decisive)


def evaluate_in_process(rank: int, port: int, data: str, run_dir: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    group = HostGroup(Ranks(rank, rank, 2, 2))
    group.join(load_backend("cpu"))
    outcomes = [vars(evaluate(Path(data), Path(run_dir), group, without)) for without in WAYS]
    group.leave()
    (Path(run_dir) / f"outcomes-{rank}.json").write_text(json.dumps(outcomes))


def plain_stats(data: Path) -> list[float]:
    """Score the same guesses with pycocotools alone, from the annotation file and a list of results."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data / "annotations" / "instances_val2017.json"))
        results = []
        for image_id in truth.getImgIds():
            own = truth.loadAnns(truth.getAnnIds(imgIds=[image_id]))
            for row in guesses(image_id, own):
                # A detector answers with corners in float32, and the width is what lies between them.
                corners = np.asarray([*row[:2], row[0] + row[2], row[1] + row[3]], dtype=np.float32).astype(float)
                box = [corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1]]
                results.append(
                    {"image_id": image_id, "bbox": [float(v) for v in box], "score": row[4], "category_id": int(row[5])}
                )
        scoring = COCOeval(truth, truth.loadRes(results), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return [float(value) for value in scoring.stats]


@pytest.mark.parametrize("without", WAYS, ids=lambda names: "+".join(names) or "nothing")
def test_one_ranks_score_is_pycocotools(shapes: Path, tmp_path: Path, without: tuple[str, ...]) -> None:
    outcome = evaluate(shapes, tmp_path, HostGroup(Ranks()), without)

    assert outcome.facts["stats"] == pytest.approx(plain_stats(shapes), abs=1e-12)
    assert 0.05 < outcome.map == outcome.facts["map"] < 0.95
    assert outcome.images == outcome.facts["images_total"] == outcome.facts["images_expected"] == 12


def test_two_ranks_score_is_pycocotools_and_both_know_it(tmp_path: Path) -> None:
    # An odd number of images, so that the last share is filled up where they are taken in order.
    data = ensure(tmp_path / "data", seed=2, train_images=4, val_images=13)
    run_two_ranks("tests.trainer.test_evaluate:evaluate_in_process", str(data), str(tmp_path), folder=tmp_path)

    of_rank_0, of_rank_1 = (json.loads((tmp_path / f"outcomes-{rank}.json").read_text()) for rank in (0, 1))

    assert len(of_rank_0) == len(of_rank_1) == len(WAYS)
    for zero, one in zip(of_rank_0, of_rank_1):
        facts = zero["facts"]
        assert facts["stats"] == pytest.approx(plain_stats(data), abs=1e-12)
        assert zero["map"] == one["map"] == facts["map"]
        assert one["facts"] == {}
        assert zero["images"] + one["images"] == facts["images_total"] == facts["images_expected"] == 13
        assert min(zero["images"], one["images"]) > 0


def test_pycocotools_scores_again_what_decides(shapes: Path, tmp_path: Path) -> None:
    group = HostGroup(Ranks())

    decisive = evaluate(shapes, tmp_path, group, ())
    another = evaluate(shapes, tmp_path, group, (), decisive=False)
    scored_by_it = evaluate(shapes, tmp_path, group, ("fast_scoring",))

    assert decisive.facts["scorer"] == another.facts["scorer"] == f"{FAST} {version(FAST)}"
    assert decisive.facts["checked_map"] == pytest.approx(decisive.map, abs=1e-12)
    assert 0 <= decisive.facts["check_difference"] <= 1e-12
    assert "checked_map" not in another.facts
    assert "checked_map" not in scored_by_it.facts
    assert scored_by_it.facts["scorer"] == f"{REFERENCE} {version(REFERENCE)}"


def test_the_check_finds_what_the_fast_scorer_got_wrong(shapes: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def score_rows(rows: Any, truth: Any, *, fast: bool) -> Score:
        right = scoring.score_rows(rows, truth, fast=False)
        wrong = [*right.stats[:11], right.stats[11] + 0.125]
        return Score(wrong, right.images, f"{FAST} 0") if fast else right

    monkeypatch.setattr("trainer.loop.evaluate.score_rows", score_rows)

    facts = evaluate(shapes, tmp_path, HostGroup(Ranks()), ()).facts

    assert facts["check_difference"] == pytest.approx(0.125)
    assert facts["checked_map"] == facts["map"]


def test_a_batchs_rows_are_those_of_its_images() -> None:
    rng = np.random.RandomState(0)
    outputs = []
    for count in (3, 0, 100, 1):
        corners = torch.from_numpy(rng.uniform(0, 640, (count, 4)).astype(np.float32))
        scores = torch.from_numpy(rng.rand(count).astype(np.float32))
        outputs.append({"boxes": corners, "scores": scores, "labels": torch.from_numpy(rng.randint(1, 91, count))})

    rows = rows_of([7, 8, 9, 581929], outputs)

    boxes, scores, labels = (np.concatenate([one[name] for one in outputs]) for name in ("boxes", "scores", "labels"))
    assert rows[:, 0].tolist() == [7] * 3 + [9] * 100 + [581929]
    assert np.array_equal(rows[:, 1:3], boxes[:, :2])
    assert np.array_equal(rows[:, 3:5], boxes.astype(np.float64)[:, 2:] - boxes.astype(np.float64)[:, :2])
    assert np.array_equal(rows[:, 5:], np.stack([scores.astype(np.float64), labels], axis=1))


@pytest.mark.parametrize("first", [1, 2**53 - 4, 2**60, 2**63 - 12])
@pytest.mark.parametrize("without", [(), ("fast_scoring",), ("scored_once",)], ids="+".join)
def test_ids_beyond_float64_are_scored_and_counted_as_small_ones(
    tmp_path: Path, without: tuple[str, ...], first: int
) -> None:
    content, rows = made_up(12, 20, categories=3)
    outputs = [
        {
            "boxes": torch.tensor(own[:, 1:5]).float(),
            "scores": torch.tensor(own[:, 5]),
            "labels": torch.tensor(own[:, 6]),
        }
        for own in (rows[rows[:, 0] == number] for number in range(1, 13))
    ]
    for output in outputs:
        output["boxes"][:, 2:] += output["boxes"][:, :2]
    expected = plain(content, rows_of(range(1, 13), outputs))
    for part, key in (("images", "id"), ("annotations", "image_id")):
        for one in content[part]:
            one[key] += first - 1

    scores = collector(small_settings(tmp_path, tmp_path, without=without), truth_of(content))
    for begin in (8, 4, 0):
        scores.add(range(first + begin, first + begin + 4), outputs[begin : begin + 4])
    outcome = scores.outcome(HostGroup(Ranks()), lambda reached: True)

    assert outcome.facts["stats"] == pytest.approx(expected, rel=0, abs=1e-12)
    assert outcome.images == outcome.facts["images_total"] == outcome.facts["images_expected"] == 12


def test_a_batch_without_a_detection_has_no_rows() -> None:
    nothing = {"boxes": torch.zeros((0, 4)), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}

    assert rows_of([1, 2], [nothing, nothing]).shape == (0, 7)


def test_the_model_is_back_in_training_mode_after_a_failure(shapes: Path) -> None:
    from trainer.data.dataset import BadSample

    backend = load_backend("cpu")
    backend.open(0, 1)
    model = NoisyOracle(shapes)

    with pytest.raises(DataError, match="broken"):
        detect(model, [BadSample("broken")], backend, lambda image_ids, outputs: None)

    assert model.training


@pytest.mark.parametrize("pinned", [True, False])
def test_only_copies_from_pinned_memory_are_not_waited_for(monkeypatch: Any, pinned: bool) -> None:
    class Batches(list):
        pin_memory = pinned

    backend = load_backend("cpu")
    backend.open(0, 1)
    monkeypatch.setattr(backend, "pin_memory", True)
    asked: list[bool] = []

    def copying(batch: Any, device: Any, *, blocking: bool) -> Any:
        asked.append(blocking)
        return [], []

    monkeypatch.setattr("trainer.loop.evaluate.to_device", copying)
    batch = SimpleNamespace(image_ids=np.zeros(0, dtype=np.int64), oriented=2)
    monkeypatch.setattr("trainer.loop.evaluate.require_batch", lambda one: one)

    oriented = detect(torch.nn.Identity(), Batches([batch, batch]), backend, lambda ids, found: None)

    assert asked == [not pinned] * 2
    assert oriented == 4


@pytest.mark.parametrize("precision", ["bf16", "amp"])
def test_evaluation_is_outside_autocast_at_every_precision(precision: str, shapes: Path, tmp_path: Path) -> None:
    backend = load_backend("cpu")
    backend.open(0, 1)
    asked: list[str] = []
    seen: list[bool] = []

    class Model(NoisyOracle):
        def forward(self, images: list[Any]) -> list[dict[str, Any]]:
            seen.append(torch.is_autocast_enabled())
            return super().forward(images)

    model, settings = Model(shapes), small_settings(shapes, tmp_path, precision=precision)
    loaders = build_loaders(settings, rank=0, world_size=1, pin_memory=False)
    with mock.patch.object(type(backend), "autocast", lambda self, name: asked.append(name)):
        detect(model, loaders.val, backend, lambda ids, found: None)

    assert asked == []
    assert set(seen) == {False}


def test_detections_of_an_image_that_a_rank_before_looked_at_are_not_counted_again(monkeypatch: Any) -> None:
    content, rows = made_up(6, 20, categories=3)
    first, second = PublishedScores(truth_of(content)), PublishedScores(truth_of(content))
    for scores, ids in ((first, [1, 2, 3, 4]), (second, [4, 5, 6])):
        scores.add_rows(ids, rows[np.isin(rows[:, 0], ids)])
    lines: list[Any] = []
    monkeypatch.setattr("trainer.data.scoring.all_gather_pickles", lambda value, group: lines.append(value) or [value])
    first.outcome(HostGroup(Ranks()), lambda reached: False)
    monkeypatch.setattr("trainer.data.scoring.all_gather_pickles", lambda value, group: [lines[0], value])

    outcome = second.outcome(HostGroup(Ranks(1, 1, 2, 2)), lambda reached: False)

    assert outcome.images == 2
    assert outcome.detections == np.count_nonzero(rows[:, 0] > 4)


@pytest.mark.parametrize(("decisive", "times"), [(True, 1), (False, 0)])
def test_the_detections_of_the_evaluation_that_decides_are_kept(
    decisive: bool, times: int, shapes: Path, tmp_path: Path
) -> None:
    backend = load_backend("cpu")
    backend.open(0, 1)
    settings = small_settings(shapes, tmp_path)
    loaders = build_loaders(settings, rank=0, world_size=1, pin_memory=False)
    kept: list[np.ndarray] = []
    scores = collector(settings, loaders.ground_truth, kept.append)
    detect(NoisyOracle(shapes), loaders.val, backend, scores.add)

    outcome = scores.outcome(HostGroup(Ranks()), lambda reached: decisive)

    assert [len(rows) for rows in kept] == [outcome.detections] * times
    for rows in kept:
        assert loaders.ground_truth is not None
        assert score_rows(rows, loaders.ground_truth, fast=False).map == pytest.approx(outcome.map, abs=1e-12)
