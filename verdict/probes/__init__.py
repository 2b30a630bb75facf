"""Verdicts on what a device was found to be before training: one module a probe.

They register themselves, and the lines of the closing table come in the order of these imports.
"""

# isort: off
from __future__ import annotations

from verdict.probes import operators  # noqa: F401
from verdict.probes import one_step  # noqa: F401
from verdict.probes import links  # noqa: F401
from verdict.probes import peaks  # noqa: F401
from verdict.probes import explained  # noqa: F401
