"""Images a second from disk to batch in this process, boxes only, on the generated data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from trainer.data.coco import load_index
from trainer.data.loader import train_loader
from trainer.data.shapes import ensure


def test_an_epoch_of_the_generated_data_set(benchmark: Any, tmp_path_factory: Any) -> None:
    """256 images of 128 pixels; the rate is 256 over the time shown."""
    data: Path = ensure(Path(str(tmp_path_factory.mktemp("data"))), seed=0, train_images=256, val_images=8)
    index = load_index(data, "train2017", num_classes=4, training=True)
    loader = train_loader(
        index,
        data / "train2017",
        batch_size=8,
        rank=0,
        world_size=1,
        seed=0,
        flip_probability=0.5,
        aspect_ratio_groups=3,
        workers=0,
        pin_memory=False,
    )

    batches = benchmark(lambda: sum(1 for _ in loader))

    assert batches == len(index) // 8
