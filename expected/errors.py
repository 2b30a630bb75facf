"""The error of an expectation file."""

from __future__ import annotations

from evidence.errors import SuiteError


class ExpectationError(SuiteError):
    """A topology or an expectation file that cannot be relied on; the message names file and key."""
