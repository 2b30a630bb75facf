"""docs/containers.md: the images' Dockerfiles, and what a container does with the arguments that it is given."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.installing.dockerfile import arguments, instructions, kept
from tests.support import ROOT
from tests.test_layers import MAY_IMPORT

DOCKERFILES = sorted((ROOT / "docker").glob("*/Dockerfile"))
ENTRY = ROOT / "docker" / "entry.sh"
PAGE = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_every_argument_has_a_default_and_the_base_a_tag(dockerfile: Path) -> None:
    steps = instructions(dockerfile)
    values = arguments(steps, {})

    assert {step.rest.partition("=")[0] for step in steps if step.name == "ARG"} == set(values)
    assert re.fullmatch(r"(?!.*:latest$)\S+:[\w.-]+", values["BASE"])


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_the_page_names_the_image_and_its_base(dockerfile: Path) -> None:
    assert f"| `{dockerfile.relative_to(ROOT)}` | `{arguments(instructions(dockerfile), {})['BASE']}`" in PAGE


def test_the_images_differ_in_their_base_only() -> None:
    steps = [[step for step in instructions(path) if not step.rest.startswith("BASE=")] for path in DOCKERFILES]

    assert len(steps) == 2
    assert steps[0] == steps[1]


def test_an_image_has_every_package_of_the_suite() -> None:
    names = set(kept(ROOT))

    assert set(MAY_IMPORT) | {"conftest.py", "tox.ini", "pyproject.toml"} <= names
    assert [name for name in names - {"wheelhouse"} if not (ROOT / name).exists()] == []


def entered(*words: str, python: str = sys.executable) -> Any:
    environment = {**os.environ, "CONFORMANCE_PYTHON": python}
    return subprocess.run(["/bin/sh", str(ENTRY), *words], env=environment, capture_output=True, text=True)


def test_another_word_than_gate_is_a_command_in_the_checkout() -> None:
    done = entered("sh", "-c", "pwd; command -v pytest; exit 3")

    assert done.returncode == 3
    assert done.stdout.splitlines() == [str(ROOT), str(Path(sys.executable).parent / "pytest")]


def test_a_python_that_this_user_cannot_start_is_named_with_what_to_do() -> None:
    done = entered("gate", "-m", "r300", python="/nonexistent/python")

    assert done.returncode == 4
    assert "/nonexistent/python cannot be started by user" in done.stderr
    assert "--user 0" in done.stderr
