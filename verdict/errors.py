"""The errors of reading and judging evidence."""

from __future__ import annotations

from expected import SuiteError


class EvidenceError(SuiteError):
    """There is no evidence to read, or a stored verdict is not one; the message names the path."""


class AcceptError(SuiteError):
    """Runs that make no baseline, or a baseline file that cannot take them; the message says why and what to do."""
