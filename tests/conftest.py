"""Data sets that many tests read, made once per session and worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes is the machine's affair: no test asserts it.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: Any) -> Path:
    """A generated data set of 32 training and 12 validation images, in COCO's layout; read only."""
    from trainer.data.shapes import ensure

    return ensure(Path(str(tmp_path_factory.mktemp("data"))), seed=1, train_images=32, val_images=12)
