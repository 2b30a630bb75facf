"""Pythons to install into, and checkouts to install from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

import pytest

from tests.support import ROOT

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "runs", "tests", "benchmarks", "htmlcov")
_JUDGING = ("pytest-benchmark", "numpy", "Jinja2", "filelock", "tomli; python_version < '3.11'")


@dataclass(frozen=True)
class Result:
    """A finished program: its exit code, and all that it said."""

    code: int
    output: str


@dataclass(frozen=True)
class Python:
    """A Python of its own in `folder`, with nothing but pip."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, executable: str = sys.executable) -> Python:
        subprocess.run([executable, "-m", "venv", str(folder)], check=True)
        return cls(folder)

    def run(self, cwd: Path, *words: object, **environment: str) -> Result:
        """Run one of its programs from `cwd`; nothing of the environment says where modules are."""
        command = [str(self.folder / "bin" / str(words[0])), *map(str, words[1:])]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "PYTHON", "COV_"))}
        done = subprocess.run(
            command,
            cwd=str(cwd),
            env={**kept, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Result(done.returncode, done.stdout)

    def pip(self, *words: object) -> None:
        """Run pip, which has to succeed."""
        done = self.run(self.folder, "python", "-m", "pip", "--disable-pip-version-check", *words)
        assert done.code == 0, done.output

    def judging(self, pytest_version: str) -> None:
        """Install what judging a stored run needs."""
        self.pip("install", "-q", f"pytest=={pytest_version}", *_JUDGING)


def copy_of_the_checkout(folder: Path) -> Path:
    """Return a checkout without what it has ignored, and without the project's own tests."""
    shutil.copytree(str(ROOT), str(folder), ignore=_LEFT_OUT)
    return folder


def python38() -> str:
    """Return a Python 3.8, as the R300's image has it; skips where there is none."""
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = [*map(str, versions.glob("3.8.*/bin/python3.8")), shutil.which("python3.8") or ""]
    usable = [one for one in found if one and _works(one)]
    if not usable:
        pytest.skip("needs a Python 3.8: apt-get install python3.8-venv, or pyenv install 3.8")
    return usable[0]


def _works(executable: str) -> bool:
    return subprocess.run([executable, "-c", "import ensurepip"], capture_output=True).returncode == 0


def written(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files by their names below `folder`; return it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
