"""Other projects do not notice the suite in their Python: they have modules of its names, and a pytest of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Iterable, Sequence

import pytest

from tests.installing.pythons import Python, copy_of_the_checkout, written

pytestmark = pytest.mark.integration

_USER = 'import pytest\n\n@pytest.fixture\ndef user(): return "bob"\n'
_TEST = 'def test_user(user): assert user == "bob"\n'
PROJECTS = {
    "plug-in": {
        "conftest.py": 'pytest_plugins = ["fixtures.users"]\n',
        "fixtures/__init__.py": "",
        "fixtures/users.py": _USER,
    },
    "package": {
        "tests/conftest.py": "from fixtures.users import user  # noqa\n",
        "tests/fixtures/__init__.py": "",
        "tests/fixtures/users.py": _USER,
    },
    "module": {"tests/conftest.py": "from fixtures import user\n", "tests/fixtures.py": _USER},
}
PACKAGES = ("evidence", "expected", "fixtures", "reports", "suite", "trainer", "verdict")
LOOK = f"import importlib.util; print(list(map(importlib.util.find_spec, {PACKAGES})))"
SUITE = ("accelerator_conformance.py", "accelerator_conformance-0.1.0.dist-info")


COMMANDS = [["pytest"], ["python", "-m", "pytest"]]


def require_undisturbed(
    python: Python, folder: Path, projects: Iterable[str] = PROJECTS, commands: Sequence[list[str]] = COMMANDS
) -> None:
    for name in projects:
        project = written(folder / name, {"pytest.ini": "[pytest]\n", "tests/test_o.py": _TEST, **PROJECTS[name]})
        for command in commands:
            done = python.run(project, *command, "-p", "no:cacheprovider")
            assert (done.code, "1 passed" in done.output) == (0, True), f"{name}: {command}: {done.output}"


def installed(python: Python) -> set[str]:
    (folder,) = python.folder.glob("lib/python3*/site-packages")
    return {path.name for path in folder.iterdir() if "onformance" in path.name or path.suffix in (".pth", ".egg-link")}


@pytest.mark.parametrize("version", ["7.4.*", "9.2.*"])
def test_other_projects_pass_before_and_after_and_when_the_checkout_is_gone(tmp_path: Path, version: str) -> None:
    python = Python.made(tmp_path / "python")
    python.pip("install", "-q", f"pytest=={version}")
    before = installed(python)
    checkout = copy_of_the_checkout(tmp_path / "checkout")

    python.pip("install", "-q", "--no-deps", "-e", checkout)
    require_undisturbed(python, tmp_path / "editable")
    assert python.run(tmp_path, "python", "-c", LOOK).output == f"{[None] * len(PACKAGES)}\n"
    assert "start it in one" in python.run(tmp_path, "conformance").output
    assert installed(python) - before == set(SUITE)
    python.pip("install", "-q", "fixtures")  # PyPI's, after
    require_undisturbed(python, tmp_path / "after", commands=COMMANDS[:1])
    python.pip("install", "-q", "--no-deps", "--force-reinstall", checkout)  # and before
    require_undisturbed(python, tmp_path / "before", commands=COMMANDS[1:])
    assert installed(python) - before == set(SUITE)
    shutil.rmtree(str(checkout))
    require_undisturbed(python, tmp_path / "gone", ["module"])
