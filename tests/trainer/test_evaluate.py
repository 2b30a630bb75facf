"""mAP is pycocotools' own over the whole ground truth, however many ranks share the images."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.trainer.small import small_settings
from trainer.devices import load_backend
from trainer.errors import DataError
from trainer.evaluate import COLUMNS, detect, gather_and_score, score_detections
from trainer.loaders import build_loaders
from trainer.ranks import HostGroup, Ranks

pytestmark = pytest.mark.needs_torch


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


def evaluate(data: Path, run_dir: Path, ranks: Ranks) -> Any:
    backend = load_backend("cpu")
    backend.open(ranks.local_rank, ranks.local_world_size)
    group = HostGroup(ranks)
    group.join(backend)
    loaders = build_loaders(
        small_settings(data, run_dir), rank=ranks.rank, world_size=ranks.world_size, pin_memory=False
    )
    detections, images = detect(NoisyOracle(data), loaders.val, backend, "fp32", lambda done: None)
    score, reached, images_total = gather_and_score(detections, images, loaders.ground_truth, group)
    group.leave()
    return score, reached, images, images_total


def evaluate_in_process(rank: int, port: int, data: str, run_dir: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    score, reached, images, images_total = evaluate(Path(data), Path(run_dir), Ranks(rank, rank, 2, 2))
    result = {"stats": score and score.stats, "reached": reached, "images": images, "total": images_total}
    (Path(run_dir) / f"result-{rank}.json").write_text(json.dumps(result))


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


def test_one_ranks_score_is_pycocotools(shapes: Path, tmp_path: Path) -> None:
    score, reached, images, images_total = evaluate(shapes, tmp_path, Ranks())

    assert score.stats == pytest.approx(plain_stats(shapes), abs=1e-12)
    assert 0.05 < reached == score.map < 0.95
    assert images == images_total == score.images == 12


def test_two_ranks_score_is_pycocotools_and_both_know_it(shapes: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=evaluate_in_process, args=(rank, port, str(shapes), str(tmp_path))) for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)

    zero, one = (json.loads((tmp_path / f"result-{rank}.json").read_text()) for rank in (0, 1))

    assert zero["stats"] == pytest.approx(plain_stats(shapes), abs=1e-12)
    assert zero["reached"] == one["reached"] == zero["stats"][0]
    assert one["stats"] is None
    assert zero["images"] + one["images"] == zero["total"] == one["total"] == 12
    assert min(zero["images"], one["images"]) > 0


def truth_of(boxes: list[dict[str, Any]]) -> Any:
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 1, "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": boxes,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def box(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 10, 20, 20],
        "area": 400,
        "iscrowd": 0,
        "segmentation": [],
        **changes,
    }


def test_no_detection_at_all_scores_zero() -> None:
    assert score_detections(np.zeros((0, COLUMNS)), truth_of([box()])).map == 0.0


def test_a_perfect_detection_scores_one() -> None:
    found = np.array([[1, 10, 10, 20, 20, 0.9, 1]], dtype=float)

    assert score_detections(found, truth_of([box()])).map == pytest.approx(1.0)


def test_a_truth_of_crowds_only_has_no_score() -> None:
    found = np.array([[1, 10, 10, 20, 20, 0.9, 1]], dtype=float)

    with pytest.raises(DataError, match="no box that is not a crowd"):
        score_detections(found, truth_of([box(iscrowd=1)]))


def test_the_model_is_back_in_training_mode_after_a_failure(shapes: Path) -> None:
    from trainer.data.dataset import BadSample

    backend = load_backend("cpu")
    backend.open(0, 1)
    model = NoisyOracle(shapes)

    with pytest.raises(DataError, match="broken"):
        detect(model, [BadSample("broken")], backend, "fp32", lambda done: None)

    assert model.training
