"""The one error of the history."""

from __future__ import annotations

from evidence.errors import SuiteError


class HistoryError(SuiteError):
    """The history cannot be read or written to; the message says why and what to do, and holds no password."""
