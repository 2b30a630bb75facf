"""How long does each training step take? Not judged: for watching and comparing (docs/benchmarks.md)."""

from __future__ import annotations

from typing import Any

from fixtures.ask.benchmarks import RecordedSteps
from fixtures.select.registry import ANSWERED, each_cell, question


@question("step_times", of=each_cell, enough=ANSWERED)
def test_step_times(recorded_steps: RecordedSteps, benchmark: Any) -> None:
    """Compute time of each step on the slowest rank, as the trainer recorded it: replayed, not run again."""
    recorded_steps.replay(benchmark)
