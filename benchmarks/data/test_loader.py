"""Images a second that one loader worker delivers: ours, beside the published ways of loading the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

torch = pytest.importorskip("torch")

from benchmarks.beside import beside
from benchmarks.data.pictures import OUTLINES, write_pictures
from tests.trainer.data.one_rank import loader_of_one_rank
from trainer.data.coco import load_index
from trainer.data.dataset import CocoBoxes
from trainer.data.loader import Images
from trainer.data.published import PublishedImages, read_outlines

IMAGES, BATCH_SIZE = 96, 16
_CLASSES = 91


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: Any) -> Path:
    return write_pictures(Path(str(tmp_path_factory.mktemp("pictures"))) / "coco", images=IMAGES)


def epoch_of(pictures: Path, *, masks: bool = False, floats: bool = False) -> Callable[[], list[Any]]:
    """Return a function that takes an epoch's batches from one worker, which has started already.

    With masks, floats or both, as torchvision's reference training loads them. It returns ids and counts of boxes.
    """
    index = load_index(pictures, "train2017", num_classes=_CLASSES, training=True)
    folder = pictures / "train2017"
    images: Images = CocoBoxes(index, folder)
    if masks or floats:
        annotations = read_outlines(pictures, index, num_classes=_CLASSES) if masks else None
        images = PublishedImages(index, folder, annotations=annotations, floats=floats)
    loader = loader_of_one_rank(index, images, batch_size=BATCH_SIZE, workers=1)

    def epoch() -> list[Any]:
        seen = [(int(one["image_id"]), len(one["boxes"])) for batch in loader for one in batch.targets]
        assert len(seen) == IMAGES
        assert {boxes for _, boxes in seen} == {OUTLINES}
        return seen

    return epoch


def test_boxes_and_bytes_beside_masks_and_floats(benchmark: Any, pictures: Path) -> None:
    """The reference decodes polygons into masks, mirrors both and makes floats of the image."""
    ours, reference = epoch_of(pictures), epoch_of(pictures, masks=True, floats=True)
    assert ours() == reference()

    beside(benchmark, ours, reference, rounds=9, units=IMAGES, name="loader, beside masks and floats")


def test_boxes_and_bytes_beside_boxes_and_floats(benchmark: Any, pictures: Path) -> None:
    """The reference reads boxes only, and makes floats of the image in the worker."""
    ours, reference = epoch_of(pictures), epoch_of(pictures, floats=True)
    assert ours() == reference()

    beside(benchmark, ours, reference, rounds=9, units=IMAGES, name="loader, beside boxes and floats")
