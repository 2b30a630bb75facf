"""The checkout in which pytest is started decides, wherever the suite was installed from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.installing.pythons import Python, copy_of_the_checkout, python38
from tests.suite.stored import store

pytestmark = pytest.mark.labs


@pytest.fixture(scope="module")
def judging(tmp_path_factory: Any) -> Python:
    """A Python 3.8 with what judging needs; pytest before 9 loads plug-ins before `pythonpath`."""
    python = Python.made(Path(str(tmp_path_factory.mktemp("judging"))) / "python", python38())
    python.judging("7.4.4")
    return python


def broken_checkout(folder: Path) -> Path:
    """A checkout none of whose code can be imported."""
    checkout = copy_of_the_checkout(folder)
    for name in ("evidence", "expected", "fixtures", "reports", "suite", "trainer", "verdict"):
        (checkout / name / "__init__.py").write_text(f'raise SystemExit("the {name} of the other checkout")\n')
    return checkout


@pytest.mark.parametrize("how", [["-e"], []], ids=["editable", "plain"])
def test_the_gate_is_decided_by_the_checkout_in_which_pytest_was_started(
    tmp_path: Path, judging: Python, how: list[str]
) -> None:
    other, mine = broken_checkout(tmp_path / "other"), copy_of_the_checkout(tmp_path / "mine")
    judging.pip("install", "-q", "--no-deps", "--force-reinstall", *how, other)
    run_dir = store(tmp_path / "run")

    done = judging.run(mine / "suite", "pytest", "-p", "no:cacheprovider", "--gate", "--replay", run_dir)

    blank = "e2e_time, p_whole, p_train, p_core unpublished and no --baseline"
    assert done.output.splitlines()[-1] == f"GATE: INCOMPLETE  r300-1x8-fp32-bs16: {blank}"


def test_the_suite_of_another_checkout_is_refused_with_its_path(tmp_path: Path, judging: Python) -> None:
    mine, other = (copy_of_the_checkout(tmp_path / name) for name in ("mine", "other"))

    done = judging.run(mine, "pytest", "-p", "no:cacheprovider", "--gate", other / "suite")

    assert done.code == 4
    assert f"--gate: found code of {other}" in done.output
    assert done.output.splitlines()[-1].startswith("GATE: INCOMPLETE")


def test_pip_20_installs_an_editable_checkout_whose_end_breaks_nothing(tmp_path: Path) -> None:
    python = Python.made(tmp_path / "python", python38())
    python.pip("download", "-q", "--dest", tmp_path / "building", "setuptools>=64", "wheel")
    python.pip("install", "-q", "pytest==8.3.5", "pip==20.0.2")
    checkout = copy_of_the_checkout(tmp_path / "checkout")

    python.pip("install", "-q", "--no-deps", "--no-index", "--find-links", tmp_path / "building", "-e", checkout)
    assert "No module named 'fixtures'" in python.run(tmp_path, "python", "-c", "import fixtures").output
    (tmp_path / "test_o.py").write_text("def test_o(): pass\n")
    assert "1 passed" in python.run(tmp_path, "pytest", "test_o.py").output
    shutil.rmtree(str(checkout))
    assert "1 passed" in python.run(tmp_path, "pytest", "test_o.py").output
