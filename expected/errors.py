"""The base of the project's errors, and the one that an expectation file can raise."""

from __future__ import annotations


class SuiteError(Exception):
    """Base of the errors raised on purpose: they say what was found, what was expected, where, what to do."""


class ExpectationError(SuiteError):
    """A topology or an expectation file that cannot be relied on; the message names file and key."""
