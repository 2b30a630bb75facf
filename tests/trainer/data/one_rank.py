"""The training loader of a rank that is alone, as tests and benchmarks want it when nothing of it is in question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.trainer.small import small_settings
from trainer.data.coco import CocoIndex
from trainer.data.loader import Images, train_loader


def loader_of_one_rank(index: CocoIndex, images: Images, *, batch_size: int, workers: int = 0) -> Any:
    """Return the loader of `images`, half of them mirrored."""
    settings = small_settings(Path("data"), Path("run"), batch_size=batch_size, workers=workers)
    return train_loader(settings, index, images)
