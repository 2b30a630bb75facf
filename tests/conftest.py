"""Data sets that many tests read, made once per session and worker."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests import forked
from trainer.launch.leases import FOLDER_VARIABLE

_ROOT = Path(__file__).resolve().parents[1]


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


def pytest_configure(config: Any) -> None:
    """Start what sessions and ranks are forked from, once for all workers of pytest-xdist.

    Not for a session of the suite, where pytest may read this file too.
    """
    if _is_own(config) and getattr(config.option, "numprocesses", None) and not config.getoption("collectonly"):
        forked.start_servers()


def _is_own(config: Any) -> bool:
    """Return whether a session is asked for tests of this folder."""
    here, start = _ROOT / "tests", Path(str(config.invocation_params.dir))
    asked = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return any(path == here or here in path.parents for path in asked)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: Any, log: Any) -> Any:
    """With `--dist loadgroup`, send a file with a fixture of module scope to one worker of pytest-xdist.

    Else each worker would make the run, the lab or the model that its tests share. Other tests are sent one by one.
    Instead of `xdist_group` marks, which pytest-xdist 3.8 loses under pytest 9.2.
    """
    if config.getoption("dist") != "loadgroup" or not _is_own(config):
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if _shares(file) else nodeid

    return ByFile(config, log)


@lru_cache(maxsize=None)
def _shares(file: str) -> bool:
    return 'scope="module"' in (_ROOT / file).read_text(encoding="utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Put a test that is skipped where something is missing into the labs' tier."""
    for item in items:
        if item.nodeid.startswith("tests/") and item.get_closest_marker("skipif"):
            item.add_marker("labs")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any) -> Iterator[None]:
    """Turn a skip outside the labs tier into a failure."""
    outcome: Any = yield
    if not item.get_closest_marker("labs"):
        _forbid_skip(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Turn a skip of a whole file into a failure."""
    outcome: Any = yield
    _forbid_skip(outcome.get_result())


def _forbid_skip(report: Any) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}: only a test marked `labs` may be skipped; mark it, or install what it needs"


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


@pytest.fixture(autouse=True)
def onednn_as_it_was() -> Iterator[None]:
    """A simulated device that is opened in this process switches oneDNN off for all that comes after."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].backends.mkldnn.set_flags(_enabled=True)


@pytest.fixture
def forked_ranks(monkeypatch: Any) -> None:
    """What is booted in this process on a simulated device has ranks that are forked (forked.py)."""
    import fixtures.boot.boot
    from tests.forked_ranks import forked_control_of

    monkeypatch.setattr(fixtures.boot.boot, "control_of", forked_control_of)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: Any) -> Path:
    """A generated data set of 32 training and 12 validation images, in COCO's layout; read only."""
    from trainer.data.shapes import ensure

    return ensure(Path(str(tmp_path_factory.mktemp("data"))), seed=1, train_images=32, val_images=12)
