"""What a check looks at: one run's evidence beside the cell that it claims to be of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, Mapping

from evidence.bundle import Evidence
from expected import Cell
from verdict.metrics.measurement import Measurement


@dataclass(frozen=True, eq=False)
class Case:
    """`backend` is the one that the cell's device needs; None where only run.json says it."""

    evidence: Evidence
    cell: Cell
    measurements: Mapping[str, Measurement]
    backend: str | None = None


Check = Callable[[Case], Iterator[str]]
"""Yields what is wrong: who (rank), what was found, what was expected. Nothing when all is well."""
