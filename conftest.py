"""Loads the suite's plugin for `suite/` and for the project's own `tests/`, from this checkout and no other place."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent
_PACKAGES = ("evidence", "expected", "fixtures", "reports", "suite", "trainer", "verdict")

# Another project's modules of these names (PyPI has a `fixtures`), which another plug-in has imported before.
for _name, _module in list(sys.modules.items()):
    if _name.partition(".")[0] in _PACKAGES:
        _file = getattr(_module, "__file__", None)
        if _file is None or _ROOT not in Path(_file).resolve().parents:
            del sys.modules[_name]

pytest_plugins = [
    "fixtures.plugin",
    "fixtures.ask.benchmarks",
    "fixtures.ask.comparisons",
    "fixtures.ask.probes",
    "fixtures.ask.questions",
    "fixtures.boot.dry_run",
]
