"""The family of errors."""

from __future__ import annotations

import pickle

from evidence.errors import SuiteError
from expected import ExpectationError


def test_an_expectation_error_belongs_to_the_family() -> None:
    assert issubclass(ExpectationError, SuiteError)
    assert issubclass(SuiteError, Exception)


def test_an_error_keeps_its_message_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ExpectationError("x100.toml: cell[1].map: missing")))
    assert str(error) == "x100.toml: cell[1].map: missing"
