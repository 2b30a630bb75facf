"""Data sets that many tests read, made once per session and worker."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator

import pytest

from trainer.launch.leases import FOLDER_VARIABLE


def pytest_collect_file(file_path: Path) -> None:
    """Set hypothesis up before the first test file here is imported: no example of a property test has a deadline.

    Not when this file is: pytest reads the conftest.py of every folder `test*` beside the suite, also where only the
    suite is asked for (`pytest -m r300 --topo 1x8`), and hypothesis is no part of what the suite needs.
    """
    _load_hypothesis_profile()


@lru_cache(maxsize=None)  # once: a profile inherits from the one in force, so each further call lengthens the chain
def _load_hypothesis_profile() -> None:
    import hypothesis

    # How long an example takes is the machine's affair: no test asserts it.
    hypothesis.settings.register_profile("project", deadline=None)
    hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def leases_of_these_tests(tmp_path_factory: Any) -> Iterator[Path]:
    """Runs of different workers, and of a person beside them, do not stand in each other's way."""
    yield from _folder_of_its_own(tmp_path_factory, FOLDER_VARIABLE, "leases")


@pytest.fixture(scope="session", autouse=True)
def cache_of_these_tests(tmp_path_factory: Any) -> Iterator[Path]:
    """No index is taken from the cache of the person who runs the tests, and none is left there."""
    yield from _folder_of_its_own(tmp_path_factory, "CONFORMANCE_CACHE", "cache")


def _folder_of_its_own(tmp_path_factory: Any, variable: str, name: str) -> Iterator[Path]:
    folder, before = Path(str(tmp_path_factory.mktemp(name))), os.environ.get(variable)
    os.environ[variable] = str(folder)
    yield folder
    os.environ.pop(variable)
    if before is not None:
        os.environ[variable] = before


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: Any) -> Path:
    """A generated data set of 32 training and 12 validation images, in COCO's layout; read only."""
    from trainer.data.shapes import ensure

    return ensure(Path(str(tmp_path_factory.mktemp("data"))), seed=1, train_images=32, val_images=12)
