"""Data sets that many tests read, made once per session and worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator

import hypothesis
import pytest

from trainer.launch.leases import FOLDER_VARIABLE

# How long an example takes is the machine's affair: no test asserts it.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def leases_of_these_tests(tmp_path_factory: Any) -> Iterator[Path]:
    """Runs of different workers, and of a person beside them, do not stand in each other's way."""
    folder, before = Path(str(tmp_path_factory.mktemp("leases"))), os.environ.get(FOLDER_VARIABLE)
    os.environ[FOLDER_VARIABLE] = str(folder)
    yield folder
    os.environ.pop(FOLDER_VARIABLE)
    if before is not None:
        os.environ[FOLDER_VARIABLE] = before


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: Any) -> Path:
    """A generated data set of 32 training and 12 validation images, in COCO's layout; read only."""
    from trainer.data.shapes import ensure

    return ensure(Path(str(tmp_path_factory.mktemp("data"))), seed=1, train_images=32, val_images=12)
