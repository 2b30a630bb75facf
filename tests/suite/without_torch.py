"""An environment that holds what judging needs and nothing else: links to installed distributions, in one folder."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Sequence

from packaging.requirements import Requirement

from tests.support import ROOT

JUDGING = ("pytest", "pytest-benchmark", "numpy", "tomli", "filelock")


def link_distributions(folder: Path, names: Sequence[str] = JUDGING) -> Path:
    """Link the distributions that are installed of `names`, with all that they require, into `folder`; return it."""
    folder.mkdir(parents=True)
    wanted, done = list(names), set()
    while wanted:
        name = wanted.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # tomli is needed before Python 3.11 only
        if name.lower() in done:
            continue
        done.add(name.lower())
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(distribution.locate_file(top))
        requirements = [Requirement(text) for text in distribution.requires or ()]
        wanted += [one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    return folder


def run_without_torch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python from the project's root with nothing but the standard library and what `folder` holds."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "PYTHON", "COV_"))}
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=str(ROOT),
        env={**environment, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
