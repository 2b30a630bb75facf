"""Loads the suite's plugin for `suite/` and for the project's own `tests/`."""

from __future__ import annotations

pytest_plugins = [
    "fixtures.plugin",
    "fixtures.benchmarks",
    "fixtures.clock",
    "fixtures.comparisons",
    "fixtures.dry_run",
    "fixtures.environment",
]
