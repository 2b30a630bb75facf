"""Does the device compute what it should? Each operator, beside an fp64 reference on the host: docs/numerics.md."""

from __future__ import annotations

from fixtures.ask.numerics import OperatorResult, asked_operators
from fixtures.select.registry import question


@question("operator", of=asked_operators)
def test_operator(operator_result: OperatorResult) -> None:
    """Every answer of every rank's device is within the bound of its rule; the worst size is named."""
    operator_result.require_pass()
