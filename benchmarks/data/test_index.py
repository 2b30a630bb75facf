"""The index of 118,287 images, from the cache beside parsed from a file of COCO's length."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Iterator

import pytest

from benchmarks.beside import beside
from tests.trainer.data.large import COCO_POINTS, IMAGES, write_large
from trainer.cache import FOLDER_VARIABLE
from trainer.data.coco import CocoIndex, load_index
from trainer.data.index_cache import CACHE, obtain


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Removed at once: a hundred thousand files are not for pytest to keep."""
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setenv(FOLDER_VARIABLE, str(Path(name) / "cache"))
        yield Path(name)


def test_the_index_from_the_cache_beside_parsing(benchmark: Any, folder: Path) -> None:
    """The cached way has the SHA-256 of the annotation file and of the entry, and the look into the folder."""
    file = write_large(folder, "train2017", points=COCO_POINTS)
    first = obtain(folder, "train2017", num_classes=91, training=True)
    made: dict[str, CocoIndex] = {}

    def cached() -> None:
        found = obtain(folder, "train2017", num_classes=91, training=True)
        assert found.source == CACHE
        made["ours"] = found.index

    def parsed() -> None:
        made["reference"] = load_index(folder, "train2017", num_classes=91, training=True)

    beside(benchmark, cached, parsed, name="index from cache beside parsing", units=IMAGES)

    benchmark.extra_info["annotations_mb"] = round(file.stat().st_size / 1e6, 1)
    for name in ("image_ids", "file_names", "box_offsets", "boxes", "labels"):
        arrays = [getattr(index, name).tobytes() for index in (first.index, made["ours"], made["reference"])]
        assert arrays[0] == arrays[1] == arrays[2]
