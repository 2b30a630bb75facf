"""The base of the project's errors, and the one of reading evidence."""

from __future__ import annotations


class SuiteError(Exception):
    """Base of the errors raised on purpose: they say what was found, what was expected, where, what to do."""


class EvidenceError(SuiteError):
    """There is no evidence to read, or a stored verdict is not one; the message names the path."""
