"""A small data set, settings and model that the trainer's tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.settings import Settings


def small_settings(data: Path, run_dir: Path, **changes: Any) -> Settings:
    """Return settings under which a step takes a fraction of a second on a CPU."""
    values: dict[str, Any] = {
        "run_dir": run_dir,
        "data": data,
        "cell": "cpu-1x1-fp32-bs2",
        "model": "fasterrcnn_resnet18_fpn_small",
        "pretrained_backbone": False,
        "num_classes": 4,
        "batch_size": 2,
        "learning_rate": 0.02,
        "warmup_steps": 4,
        "lr_milestones": (),
        "workers": 0,
        "epochs": 1,
        "window": 4,
        "sample_interval_s": 0.2,
    }
    values.update(changes)
    return Settings(**values)
