"""The training loader of a rank that is alone, as tests and benchmarks want it when nothing of it is in question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.data.coco import CocoIndex
from trainer.data.loader import train_loader


def loader_of_one_rank(index: CocoIndex, folder: Path, *, batch_size: int, workers: int = 0, images: Any = None) -> Any:
    """Return the loader of the images in `folder`, half of them mirrored; `images` where they are loaded otherwise."""
    return train_loader(
        index,
        folder,
        batch_size=batch_size,
        rank=0,
        world_size=1,
        seed=0,
        flip_probability=0.5,
        aspect_ratio_groups=3,
        workers=workers,
        pin_memory=False,
        images=images,
    )
