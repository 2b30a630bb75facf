"""The index of boxes to train on, and the ground truth to score against, are what the annotation file has."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from tests.trainer.data.sample import box, good, image, write
from trainer.data import shapes
from trainer.data.coco import CocoIndex, GroundTruth, are_flat, load_index, require_agreement, require_sides
from trainer.errors import DataError


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.ensure(tmp_path_factory.mktemp("shapes"), seed=0, train_images=32, val_images=16)


def indexed(root: Path, content: Any, *, training: bool = True) -> CocoIndex:
    write(root, content)
    return load_index(root, "train2017", num_classes=4, training=training)


def test_the_first_images_come_with_their_own_ground_truth_alone(generated: Path) -> None:
    whole = load_index(generated, "val2017", num_classes=4, training=False)

    part = whole.first(5)

    content = json.loads((generated / "annotations" / "instances_val2017.json").read_text())
    ids = sorted(one["id"] for one in content["images"])[:5]
    kept = [one for one in content["annotations"] if one["image_id"] in ids]
    assert part.image_ids.tolist() == ids
    assert len(part) == 5
    assert part.ground_truth is not None
    assert part.ground_truth.ids.tolist() == [one["id"] for one in kept]
    assert part.ground_truth.image_ids.tolist() == ids
    for position in range(5):
        for ours, theirs in zip(part.boxes_of(position), whole.boxes_of(position)):
            assert np.array_equal(ours, theirs)
    assert (part.counts["images"], part.counts["images_listed"]) == (5, 16)
    assert sum(part.counts["dropped"].values()) == 11
    assert whole.first(16) is whole


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_the_index_equals_pycocotools_own_reading(generated: Path, split: str, training: bool) -> None:
    index = load_index(generated, split, num_classes=4, training=training)

    theirs = COCO(str(generated / "annotations" / f"instances_{split}.json"))
    ids = [i for i in sorted(theirs.getImgIds()) if not training or theirs.getAnnIds(imgIds=i)]
    assert index.image_ids.tolist() == ids
    for position, info in enumerate(theirs.loadImgs(ids)):
        entries = theirs.loadAnns(theirs.getAnnIds(imgIds=info["id"], iscrowd=False))
        boxes, labels = index.boxes_of(position)
        assert [[x, y, right - x, bottom - y] for x, y, right, bottom in boxes.tolist()] == [e["bbox"] for e in entries]
        assert labels.tolist() == [e["category_id"] for e in entries]
        assert (index.widths[position], index.heights[position]) == (info["width"], info["height"])
        assert index.file_names[position] == info["file_name"]


def test_arrays_are_compact_and_cannot_be_changed(tmp_path: Path) -> None:
    index = indexed(tmp_path, good())

    assert [
        str(array.dtype)
        for array in (index.image_ids, index.widths, index.heights, index.box_offsets, index.boxes, index.labels)
    ] == ["int64", "int32", "int32", "int64", "float32", "int64"]
    assert index.boxes.shape == (3, 4)
    assert index.box_offsets.tolist() == [0, 1, 3]
    with pytest.raises(ValueError, match="read-only"):
        index.boxes[0, 0] = 9
    with pytest.raises(AttributeError):
        index.split = "other"  # type: ignore[misc]


def test_training_drops_images_without_a_valid_box_and_counts_them(tmp_path: Path) -> None:
    content = good()
    content["images"] += [image(20), image(21), image(22)]
    content["annotations"] += [
        box(20, 20, (5.0, 5.0, 1.0, 30.0)),
        box(21, 21, (5.0, 5.0, 0.5, 0.5)),
        box(22, 22, (5.0, 5.0, 1.5, 1.5)),
    ]

    index = indexed(tmp_path, content)

    assert index.image_ids.tolist() == [3, 7, 22]
    assert index.counts == {
        "images": 3,
        "images_listed": 6,
        "dropped": {"no_box": 1, "no_box_above_one_pixel": 2},
        "boxes": 4,
        "boxes_listed": 7,
        "boxes_dropped": {"crowd": 1, "zero_size": 0, "of_dropped_image": 2},
        "boxes_clipped": 0,
        "crowds": 1,
        "categories": 3,
    }


def test_an_image_with_only_a_crowd_stays_in_training_without_boxes(tmp_path: Path) -> None:
    content = good()
    content["annotations"].append(box(9, 12, (5.0, 5.0, 30.0, 30.0), iscrowd=1))

    index = indexed(tmp_path, content)

    assert index.image_ids.tolist() == [3, 7, 12]
    boxes, labels = index.boxes_of(2)
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)


def test_validation_keeps_every_image_and_the_whole_ground_truth(tmp_path: Path) -> None:
    index = indexed(tmp_path, good(), training=False)

    assert index.image_ids.tolist() == [3, 7, 12]
    assert index.counts["dropped"] == {}
    assert index.boxes_of(2)[0].shape == (0, 4)
    assert index.ground_truth is not None
    assert index.ground_truth.image_ids.tolist() == [3, 7, 12]
    assert index.ground_truth.ids[index.ground_truth.crowd].tolist() == [3]


def test_boxes_of_zero_size_are_dropped_and_counted(tmp_path: Path) -> None:
    content = good()
    content["annotations"] += [box(8, 7, (5.0, 5.0, 0.0, 9.0)), box(9, 7, (5.0, 5.0, 9.0, 1e-9))]

    index = indexed(tmp_path, content)

    assert index.counts["boxes_dropped"]["zero_size"] == 2
    assert len(index.boxes) == 3


SLIVERS = [
    pytest.param((0.0, 20.0, 1e-6, 30.0), id="at the left edge: nothing is left of it when mirrored"),
    pytest.param((20.0, 0.0, 30.0, 1e-7), id="at the upper edge"),
    pytest.param((63.99999, 5.0, 9.0, 9.0), id="what is left inside of the picture"),
    pytest.param((1e-6, 1e-6, 2e-6, 2e-6), id="a point"),
    pytest.param((31.999998, 5.0, 4e-6, 9.0), id="two float32 apart"),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("xywh", SLIVERS)
def test_slivers_that_rounding_may_flatten_are_dropped_and_counted(
    tmp_path: Path, xywh: tuple[float, ...], training: bool
) -> None:
    content = good()
    content["annotations"].append(box(8, 7, xywh))

    index = indexed(tmp_path, content, training=training)

    assert index.counts["boxes_dropped"]["zero_size"] == 1
    assert len(index.boxes) == 3


@given(
    width=st.integers(1, 20_000),
    left=st.floats(0, 1),
    wide=st.floats(1e-9, 1) | st.floats(1e-9, 1e-5),
    side=st.sampled_from([32, 96, 800, 1333]),
)
@settings(max_examples=500, deadline=None)
def test_no_box_that_is_kept_loses_its_width_when_mirrored_and_resized(
    width: int, left: float, wide: float, side: int
) -> None:
    corners = np.array([[left * width, 0, left * width + wide * width, 1]], dtype=np.float32)
    corners[:, 2] = corners[:, 2].clip(max=width)
    if are_flat(corners, np.array([width, 1])).all():
        assert corners[0, 2] - corners[0, 0] <= width * 2.0**-21
        return

    mirrored = np.float32(width) - corners[:, [2, 0]]
    ratio = np.float32(int(side)) / np.float32(width)
    for one in (corners[:, [0, 2]], mirrored):
        assert (one[:, 1] > one[:, 0]).all()
        assert ((one * ratio)[:, 1] > (one * ratio)[:, 0]).all()


def named(*names: str, first: int = 1) -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for number, name in enumerate(names, first)]


def splits(root: Path, train: list[dict[str, Any]], val: list[dict[str, Any]]) -> tuple[CocoIndex, CocoIndex]:
    for split, categories in (("train2017", train), ("val2017", val)):
        number = categories[0]["id"]
        write(root, {**good(), "categories": categories, "annotations": [box(1, 7, category_id=number)]}, split)
    ours, theirs = (load_index(root, split, num_classes=9, training=False) for split in ("train2017", "val2017"))
    return ours, theirs


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        (
            named("cat", "dog", "ox"),
            named("dog", "cat", "ox"),
            "category 1 is 'dog', and in instances_train2017.json it is 'cat'",
        ),
        (
            named("cat", "dog"),
            named("cat", "dog", first=2),
            "category 2 is 'cat', and in instances_train2017.json it is 'dog'",
        ),
        (named("cat", "dog"), named("cat", "cow"), "category 2 is 'cow', and in instances_train2017.json it is 'dog'"),
        (
            named("cat", "dog"),
            named("dog", first=3),
            "category 3 is 'dog', and in instances_train2017.json it is not listed, and 'dog' is 2",
        ),
        (named("a", "b", "c"), named("b", "c", "a"), "category 1 is 'b'"),
    ],
)
def test_categories_numbered_otherwise_in_both_splits_are_refused(
    tmp_path: Path, train: list[Any], val: list[Any], words: str
) -> None:
    with pytest.raises(DataError) as caught:
        require_agreement(tmp_path, *splits(tmp_path, train, val))

    assert str(caught.value).startswith(f"{tmp_path}/annotations/instances_val2017.json: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        (named("cat", "dog"), named("cat", "dog")),
        (named("cat", "dog", "ox"), list(reversed(named("cat", "dog", "ox")))),
        (named("cat", "dog", "ox"), named("cat")),
        (named("cat"), named("cat", "dog")),
        (named("Traffic Light"), named("traffic_light")),
        (named("", ""), named("cat", "dog")),
        ([{"id": 1}, {"id": 2}], named("cat", "dog")),
        (named("thing", "thing"), named("thing", "thing")),
        ([{"id": 1, "name": None}], [{"id": 1, "name": 3}]),
    ],
)
def test_categories_that_do_not_contradict_each_other_are_accepted(
    tmp_path: Path, train: list[Any], val: list[Any]
) -> None:
    require_agreement(tmp_path, *splits(tmp_path, train, val))


@pytest.mark.parametrize(
    ("width", "height", "side", "fits"),
    [
        (300, 2, (96, 96), False),
        (300, 2, (800, 1333), True),
        (3000, 2, (800, 1333), False),
        (2, 3000, (800, 1333), False),
        (2000, 1, (800, 1333), False),
        (1333, 1, (800, 1333), True),
        (96, 1, (96, 96), True),
        (97, 1, (96, 96), False),
        (64, 48, (32, 32), True),
    ],
)
def test_a_picture_that_resizing_leaves_nothing_of_is_named(
    tmp_path: Path, width: int, height: int, side: tuple[int, int], fits: bool
) -> None:
    content = good()
    content["images"].append(image(20, width, height))
    index = indexed(tmp_path, content, training=False)

    transform = GeneralizedRCNNTransform(*side, [0.0] * 3, [1.0] * 3)
    if fits:
        require_sides(tmp_path, index, *side)
        transform([torch.zeros(3, height, width)])
    else:
        with pytest.raises(DataError, match=rf"000000000020\.jpg \(id 20, {width}x{height}\); take them out"):
            require_sides(tmp_path, index, *side)
        with pytest.raises(Exception, match="0"):
            transform([torch.zeros(3, height, width)])


@pytest.mark.parametrize("first", [2**53 - 1, 2**60, 2**63 - 20])
def test_ids_beyond_float64_are_kept_exactly(tmp_path: Path, first: int) -> None:
    content = good()
    for place, one in enumerate(content["images"]):
        new, old = first + place, one["id"]
        one["id"] = new
        for entry in content["annotations"]:
            entry["image_id"] = new if entry["image_id"] == old else entry["image_id"]

    index = indexed(tmp_path, content, training=False)

    assert index.image_ids.tolist() == [first, first + 1, first + 2]
    assert [len(index.boxes_of(place)[0]) for place in range(3)] == [2, 1, 0]
    assert index.ground_truth is not None
    assert index.ground_truth.numbers_of([first + 2, first]).tolist() == [3, 1]
    assert index.ground_truth.numbered().image_of.tolist() == [1, 2, 2, 1]


def test_boxes_that_reach_outside_are_clipped_and_counted(tmp_path: Path) -> None:
    content = good()
    content["annotations"][0]["bbox"] = [-4, -2.5, 300, 20]
    content["annotations"][3]["bbox"] = [30, 20, 34, 28.5]

    index = indexed(tmp_path, content)

    assert index.counts["boxes_clipped"] == 2
    assert index.boxes_of(1)[0].tolist() == [[0, 0, 64, 17.5], [30, 20, 64, 48]]


def test_corners_are_summed_in_float32_as_the_reference_sums_them(tmp_path: Path) -> None:
    content = good()
    content["annotations"][0]["bbox"] = [10.37, 7.91, 33.33, 21.17]

    boxes, _ = indexed(tmp_path, content).boxes_of(1)

    x, y, width, height = (np.float32(value) for value in (10.37, 7.91, 33.33, 21.17))
    assert boxes[0].tolist() == [x, y, x + width, y + height]


@pytest.mark.parametrize("training", [True, False])
def test_polygons_are_never_decoded_nor_kept(generated: Path, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_decoder(*_: Any) -> None:
        raise AssertionError("a mask was decoded")

    for name in ("annToMask", "annToRLE"):
        monkeypatch.setattr(COCO, name, fake_decoder)

    index = load_index(generated, "train2017", num_classes=4, training=training)

    assert "segmentation" in (generated / "annotations" / "instances_train2017.json").read_text()
    assert b"segmentation" not in pickle.dumps(index)
    assert b"counts\x94]" not in pickle.dumps(index)


def test_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    indexed(tmp_path, good())
    GroundTruth.of(good()).to_coco()

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["annotations"].clear(),
        lambda content: [entry.update(iscrowd=1) for entry in content["annotations"]],
        lambda content: [entry.update(bbox=[1, 1, 0, 9]) for entry in content["annotations"]],
    ],
    ids=["no annotation", "crowds only", "zero size only"],
)
def test_a_data_set_without_a_box_left_is_refused(tmp_path: Path, change: Any, training: bool) -> None:
    content = good()
    change(content)
    file = write(tmp_path, content)

    with pytest.raises(DataError) as caught:
        load_index(tmp_path, "train2017", num_classes=4, training=training)

    assert str(file) in str(caught.value)
    assert f"no box is left to {'train on' if training else 'score'}" in str(caught.value)


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    content = good()
    straight = indexed(tmp_path, content)
    content["images"].reverse()

    turned = indexed(tmp_path, json.loads(json.dumps(content)))

    assert turned.image_ids.tolist() == straight.image_ids.tolist()
    assert turned.boxes.tolist() == straight.boxes.tolist()


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
