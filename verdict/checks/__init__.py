"""Checks that invalidate a run. They register themselves, and reasons come in the order of these imports."""

# isort: off
from __future__ import annotations

from verdict.checks import identity  # noqa: F401
from verdict.checks import variables  # noqa: F401
from verdict.checks import data  # noqa: F401
from verdict.checks import protocol  # noqa: F401
from verdict.checks import clocks  # noqa: F401
from verdict.checks import workload  # noqa: F401
from verdict.checks import training  # noqa: F401
from verdict.checks import accounts  # noqa: F401
from verdict.checks import memory  # noqa: F401
from verdict.checks import probes  # noqa: F401
