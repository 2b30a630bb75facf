"""The published way of loading: masks as pycocotools decodes them, in step with the boxes, mirrored with the image."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from tests.trainer.data.sample import box, good, image, write
from tests.trainer.small import small_settings
from trainer.data.annotations import annotation_file
from trainer.data.coco import CocoIndex, load_index
from trainer.data.dataset import BadSample, CocoBoxes, collate
from trainer.data.published import PublishedBatch, PublishedImages, PublishedSample, published_images, read_outlines
from trainer.data.sampler import Item
from trainer.errors import DataError


def loaded(root: Path, split: str = "train2017", floats: bool = True) -> tuple[CocoIndex, PublishedImages]:
    index = load_index(root, split, num_classes=4, training=split == "train2017")
    annotations = read_outlines(root, index, num_classes=4)
    return index, PublishedImages(index, root / split, annotations=annotations, floats=floats)


def sample_of(images: PublishedImages, position: int, flip: bool = False) -> PublishedSample:
    sample = images[Item(position, flip)]
    assert isinstance(sample, PublishedSample)
    return sample


def test_masks_are_pycocotools_own_one_for_every_box(shapes: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(annotation_file(shapes, "train2017")))
    index, images = loaded(shapes)

    for position, image_id in enumerate(index.image_ids.tolist()):
        masks = sample_of(images, position).target["masks"]
        own = [one for one in coco.imgToAnns[image_id] if not one["iscrowd"]]
        assert masks.dtype == torch.uint8
        assert masks.shape == (len(own), index.heights[position], index.widths[position])
        for mask, annotation in zip(masks, own):
            assert np.array_equal(mask.numpy(), coco.annToMask(annotation))
    assert any(one["iscrowd"] for one in coco.anns.values())


@pytest.mark.parametrize("flip", [False, True])
def test_images_and_boxes_are_those_of_the_fast_way(shapes: Path, flip: bool) -> None:
    index, images = loaded(shapes)
    fast = CocoBoxes(index, shapes / "train2017")

    for position in range(len(index)):
        item = Item(position, flip)
        sample, other = sample_of(images, position, flip), collate([fast[item]])
        assert torch.equal(sample.image, other.images[0].to(torch.float32).div(255))
        assert torch.equal(sample.target["boxes"], other.targets[0]["boxes"])
        assert torch.equal(sample.target["labels"], other.targets[0]["labels"])
        assert int(sample.target["image_id"]) == other.targets[0]["image_id"]


def test_masks_are_mirrored_with_their_image(shapes: Path) -> None:
    _, images = loaded(shapes)

    straight, mirrored = sample_of(images, 0), sample_of(images, 0, flip=True)

    assert torch.equal(mirrored.target["masks"], straight.target["masks"].flip(2))
    assert torch.equal(mirrored.image, straight.image.flip(2))


def test_masks_stay_in_step_where_boxes_are_crowds_flat_or_outside(tmp_path: Path) -> None:
    content = good()
    content["images"] = [image(1), image(2)]
    content["annotations"] = [
        box(1, 1, (4.0, 5.0, 0.0, 10.0)),
        box(2, 1, iscrowd=1, segmentation={"counts": [0, 3072], "size": [48, 64]}),
        box(3, 2, (50.0, 5.0, 40.0, 10.0), segmentation=[[50.0, 5.0, 63.0, 5.0, 63.0, 15.0]]),
        box(4, 1, (10.0, 10.0, 8.0, 8.0), segmentation={"counts": [100, 8, 2964], "size": [48, 64]}),
        box(5, 1, (20.0, 20.0, 8.0, 8.0), segmentation=[[20, 20, 28, 20, 28, 28], [30, 30, 34, 30, 34, 34]]),
    ]
    write(tmp_path, content)

    _, images = loaded(tmp_path, floats=False)

    first, second = sample_of(images, 0).target, sample_of(images, 1).target
    assert first["boxes"].tolist() == [[10, 10, 18, 18], [20, 20, 28, 28]]
    assert first["masks"][0].sum() == 8
    assert first["masks"][1, 32, 33] == 1
    assert len(second["masks"]) == len(second["boxes"]) == 1
    assert sample_of(images, 0).image.dtype == torch.uint8


def test_an_image_without_boxes_has_no_masks_of_its_own_size(tmp_path: Path) -> None:
    write(tmp_path, good(), "val2017")
    _, images = loaded(tmp_path, "val2017")

    assert sample_of(images, 2).target["masks"].shape == (0, 48, 64)


def test_a_box_without_an_outline_is_refused(tmp_path: Path) -> None:
    content = good()
    content["annotations"][0]["segmentation"] = []
    write(tmp_path, content)
    index = load_index(tmp_path, "train2017", num_classes=4, training=True)

    with pytest.raises(DataError, match=r"instances_train2017\.json: annotation 1 has no segmentation"):
        read_outlines(tmp_path, index, num_classes=4)


def test_an_outline_that_cannot_be_decoded_is_named_with_its_image(tmp_path: Path) -> None:
    content = good()
    content["annotations"][0]["segmentation"] = ["triangle"]
    write(tmp_path, content)
    _, images = loaded(tmp_path)

    sample = images[Item(1, False)]

    assert isinstance(sample, BadSample)
    assert sample.message.startswith(
        f"{tmp_path}/train2017/000000000007.jpg: image 7: the segmentation of annotation 1 cannot be decoded: "
    )


def test_run_lengths_of_another_size_than_the_image_are_named_with_it(tmp_path: Path) -> None:
    content = good()
    content["annotations"][0]["segmentation"] = {"size": [10, 20], "counts": [100, 100]}
    write(tmp_path, content)
    _, images = loaded(tmp_path)

    found = [images[Item(position, False)] for position in range(len(images))]

    (bad,) = [sample for sample in found if isinstance(sample, BadSample)]
    assert "run lengths of 20x10 pixels in an image of " in bad.message


def test_a_damaged_file_takes_the_place_of_its_batch(tmp_path: Path) -> None:
    write(tmp_path, good())
    index, images = loaded(tmp_path)
    (tmp_path / "train2017" / str(index.file_names[0])).unlink()

    batch = images.collate([images[Item(1, False)], images[Item(0, False)]])

    assert isinstance(batch, BadSample)
    assert "image 3 cannot be read" in batch.message
    assert isinstance(images.collate([images[Item(1, False)]]), PublishedBatch)


@pytest.mark.parametrize(
    ("without", "dtype", "masks"),
    [
        ((), None, None),
        (("boxes_only",), torch.uint8, True),
        (("bytes_on_device",), torch.float32, False),
        (("boxes_only", "bytes_on_device"), torch.float32, True),
    ],
)
def test_each_part_of_it_can_be_asked_for(shapes: Path, tmp_path: Path, without: Any, dtype: Any, masks: Any) -> None:
    index = load_index(shapes, "train2017", num_classes=4, training=True)

    images = published_images(small_settings(shapes, tmp_path, without=without), index)

    if dtype is None:
        assert images is None
        return
    assert images is not None
    assert len(images) == len(index)
    sample = sample_of(images, 0)
    assert sample.image.dtype == dtype
    assert ("masks" in sample.target) is masks
