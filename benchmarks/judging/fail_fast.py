"""How often --fail-fast ends a run that it should not: simulated runs of known speed, looked at as they grow."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Iterator, Sequence

import numpy as np

from benchmarks.judging.noise import KINDS, Noise
from benchmarks.judging.operating_curve import FULL_STEPS, WINDOW, expectation, simulated_runs
from evidence.bundle import Evidence
from evidence.verdict import MetricVerdict, Verdict
from expected import Expectation
from verdict.fail_fast import fewest_steps, surely_fails
from verdict.judge import judge_metric
from verdict.metrics.throughput import p_core

RUNS = 100
STEPS = 2 * FULL_STEPS
EVERY_STEPS = 500
"""Between two looks."""
OFFSETS_PERCENT = (0, -3, -4, -6, -10)
"""How much faster than published the device is; at -5 it is at its bound."""


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, and print the table of docs/watching.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judging.fail_fast", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="simulated runs of each kind (default %(default)s)")
    runs = parser.parse_args(argv).runs
    published = {offset: expectation(offset) for offset in OFFSETS_PERCENT}
    print("| noise | " + " | ".join(f"{offset:+d} %" for offset in OFFSETS_PERCENT) + " | wrongly |")
    print("| --- " * (len(OFFSETS_PERCENT) + 2) + "|")
    for kind in KINDS:
        ended, wrongly = _ended(kind, runs, published)
        shares = " | ".join(f"{100 * count / runs:.0f} %" for count in ended)
        print(f"| {kind.name} | {shares} | {wrongly} of {sum(ended)} |", flush=True)
    return 0


def _ended(kind: Noise, runs: int, published: dict[int, Expectation]) -> tuple[list[int], int]:
    """Return how many runs of each device were ended, and how many of all of them would not have failed at the end."""
    counts, wrongly = dict.fromkeys(published, 0), 0
    for evidence in simulated_runs(kind, STEPS, runs):
        going_on = dict(published)
        for beginning in _beginnings(evidence):
            for offset in [*going_on]:
                if surely_fails(_judged(beginning, published[offset])):
                    del going_on[offset]
                    counts[offset] += 1
                    wrongly += _judged(evidence, published[offset]).verdict is not Verdict.FAIL
    return list(counts.values()), wrongly


def _beginnings(evidence: Evidence) -> Iterator[Evidence]:
    """Yield what each look sees of a run."""
    (rank,) = evidence.ranks
    for steps in range(fewest_steps(evidence), STEPS + 1, EVERY_STEPS):
        windows = rank.windows.select(np.arange(len(rank.windows.size)) < steps // WINDOW)
        yield replace(evidence, ranks=(replace(rank, windows=windows),))


def _judged(evidence: Evidence, known: Expectation) -> MetricVerdict:
    return judge_metric("p_core", known, p_core(evidence))


if __name__ == "__main__":
    sys.exit(main())
