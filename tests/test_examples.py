"""The examples in docstrings give what they say; one that needs a run, an expensive model or a document is skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("evidence", "expected", "fixtures", "reports", "trainer", "verdict")
MODULES = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]
RUN = """
import doctest, importlib, sys
results = [doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS) for name in sys.argv[1:]]
sys.exit(any(one.failed for one in results) or not any(one.attempted for one in results))
"""


def test_the_examples_are_right() -> None:
    """In a process of their own: some register a telemetry source or a backend, which other tests would find."""
    modules = [name[: -len(".__init__")] if name.endswith(".__init__") else name for name in MODULES]

    run = subprocess.run(
        [sys.executable, "-c", RUN, *modules],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout
