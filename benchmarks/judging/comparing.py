"""How often `compare` raises a false alarm, and how often it shows a slower release.

    python -m benchmarks.judging.comparing

Releases are compared by 1 to 10 runs a side whose values scatter from run to run (log-normal, independent), six metrics
at once. In the false alarms nothing differs and any metric that is said to is one; in the others one is slower by
the shift, and is found if it is said to be worse. With one run a side the steps of the two runs are compared, which
knows nothing of the scatter from run to run.
"""

from __future__ import annotations

import argparse
from typing import Iterator

import numpy as np

from verdict.compare.ab_comparison import ABComparison, compare_groups, compare_runs
from verdict.metrics.throughput import RateSamples

RUNS = tuple(range(1, 11))
NOISES = (0.01, 0.02, 0.03, 0.05)
SHIFTS = (0.03, 0.05, 0.10)
METRICS = 6
TRIALS = 1000

_WINDOWS = 100  # of a run, whose steps scatter by so much:
_STEP_NOISE = 0.02


def compared(generator: np.random.Generator, runs: int, noise: float, shift: float = 0.0) -> ABComparison:
    """Return the comparison of a rate between so many runs a side, of which B's are slower by `shift`, relative."""
    first, second = (np.exp(noise * generator.standard_normal(runs)) for _ in "AB")
    second = second * (1 - shift)
    if runs > 1:
        return compare_groups("p_core", first.tolist(), second.tolist())
    return compare_runs("p_core", *(_run(generator, float(rate[0])) for rate in (first, second)))


def _run(generator: np.random.Generator, rate: float) -> RateSamples:
    times = np.exp(_STEP_NOISE * generator.standard_normal(_WINDOWS)) / rate
    return RateSamples(np.full(_WINDOWS, 160), 1e9 * times)


def false_alarms(generator: np.random.Generator, runs: int, noise: float, trials: int) -> float:
    """Return the share of comparisons of METRICS metrics in which nothing differs and one at least is said to."""
    found = [any(compared(generator, runs, noise).differs(METRICS) for _ in range(METRICS)) for _ in range(trials)]
    return sum(found) / trials


def detections(generator: np.random.Generator, runs: int, noise: float, shift: float, trials: int) -> float:
    """Return the share of comparisons of METRICS metrics in which one is slower by `shift` and is said to be."""
    every = [compared(generator, runs, noise, shift) for _ in range(trials)]
    return sum(one.differs(METRICS) and (one.ratio or 1) < 1 for one in every) / trials


def table(trials: int) -> Iterator[str]:
    """Yield the lines of the table in Markdown, in percent: false alarms / what is found of each of SHIFTS."""
    shifts = " / ".join(f"{100 * shift:.0f} %" for shift in SHIFTS)
    headings = [f"noise {100 * noise:.0f} %: false / {shifts}" for noise in NOISES]
    yield f"| runs a side | {' | '.join(headings)} |"
    yield "| --- " * (1 + len(NOISES)) + "|"
    for runs in RUNS:
        cells = []
        for noise in NOISES:
            generator = np.random.default_rng([runs, round(1000 * noise)])
            rates = [false_alarms(generator, runs, noise, trials)]
            rates += [detections(generator, runs, noise, shift, trials) for shift in SHIFTS]
            cells.append(" / ".join(f"{100 * rate:.1f}" for rate in rates))
        yield f"| {runs} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description="How often compare raises a false alarm, and how often it finds a shift."
    )
    parser.add_argument("--trials", type=int, default=TRIALS, metavar="N", help="of each rate; default %(default)s")
    for line in table(parser.parse_args().trials):
        print(line, flush=True)


if __name__ == "__main__":
    main()
