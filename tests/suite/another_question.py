"""A question that no list knows: registered by being loaded (`-p tests.suite.another_question`), asked where named."""

from __future__ import annotations

from typing import Any

import pytest

from evidence.verdict import Verdict
from fixtures.gate.answers import Statement, state
from fixtures.select.registry import each_cell, question
from verdict.judge import Judged


@pytest.fixture
def answer(request: Any, run: Judged) -> None:
    """State that all is well."""
    state(request.node, Statement(Verdict.PASS, simulated=run.verdict.simulated))


@question("another", of=each_cell)
def test_another(answer: None) -> None:
    """Ask it."""
