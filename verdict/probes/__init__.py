"""Verdicts on what a device was found to be before training: one module a probe.

They register themselves, and the lines of the closing table come in the order of these imports.
"""

# isort: off
from __future__ import annotations

from verdict.probes import operators, one_step  # noqa: F401
