"""The ground truth is every annotation of the file, and pycocotools makes of it what it makes of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.trainer.data.sample import box, good, image, write
from trainer.data.ground_truth import GroundTruth

NUMBERS = st.one_of(st.integers(0, 200), st.floats(0, 200, allow_nan=False))


@st.composite
def contents(draw: Any) -> dict[str, Any]:
    """An annotation file's content: images and annotations in any order, crowds and ties among them."""
    ids = draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5, unique=True))
    numbers = draw(st.lists(st.integers(1, 2**40), max_size=12, unique=True))
    annotations = [
        box(
            number,
            draw(st.sampled_from(ids)),
            draw(st.lists(NUMBERS, min_size=4, max_size=4)),
            category_id=draw(st.integers(1, 3)),
            area=draw(NUMBERS),
            iscrowd=draw(st.integers(0, 1)),
        )
        for number in numbers
    ]
    return {**good(), "images": [image(image_id) for image_id in ids], "annotations": annotations}


def coco_of(content: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return coco


@given(content=contents())
def test_pycocotools_has_the_same_annotations_in_the_same_order(content: dict[str, Any]) -> None:
    ours, theirs = GroundTruth.of(content).to_coco(), coco_of(content)

    assert sorted(ours.getImgIds()) == sorted(theirs.getImgIds())
    assert ours.getCatIds() == theirs.getCatIds()
    for image_id in theirs.getImgIds():
        expected = [
            {key: value for key, value in entry.items() if key != "segmentation"}
            for entry in theirs.loadAnns(theirs.getAnnIds(imgIds=[image_id]))
        ]
        assert ours.loadAnns(ours.getAnnIds(imgIds=[image_id])) == expected


@given(content=contents(), seed=st.integers(0, 9))
def test_detections_score_the_same_against_both(content: dict[str, Any], seed: int) -> None:
    rng = np.random.RandomState(seed)
    rows = [
        [
            entry["image_id"] % 2**20,
            *np.array(entry["bbox"]) + rng.uniform(-2, 2, 4),
            round(rng.rand(), 1),
            1 + rng.randint(3),
        ]
        for entry in content["annotations"]
    ] or [[0, 1, 1, 5, 5, 0.5, 1]]
    for entry in content["annotations"]:
        entry["image_id"] %= 2**20  # loadRes takes ids from float64
    content["images"] = [image(image_id) for image_id in {0, *(row[0] for row in rows)}]

    ours, theirs = (
        scored(truth, np.array(rows, dtype=np.float64))
        for truth in (GroundTruth.of(content).to_coco(), coco_of(content))
    )

    assert ours == theirs


def scored(truth: COCO, rows: np.ndarray) -> list[float]:
    scoring = COCOeval(truth, truth.loadRes(rows), "bbox")
    scoring.evaluate()
    scoring.accumulate()
    scoring.summarize()
    return [float(value) for value in scoring.stats]


def test_arrays_have_the_types_that_they_promise_and_cannot_be_changed() -> None:
    truth = GroundTruth.of({**good(), "annotations": []})

    arrays = vars(truth)
    assert [(name, str(array.dtype), array.shape) for name, array in arrays.items()] == [
        ("image_ids", "int64", (3,)),
        ("category_ids", "int64", (3,)),
        ("ids", "int64", (0,)),
        ("image_of", "int64", (0,)),
        ("category_of", "int64", (0,)),
        ("boxes", "float64", (0, 4)),
        ("areas", "float64", (0,)),
        ("crowd", "bool", (0,)),
    ]
    assert not any(array.flags.writeable for array in arrays.values())


def test_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, good())

    GroundTruth.of(good()).to_coco()

    assert capsys.readouterr() == ("", "")
