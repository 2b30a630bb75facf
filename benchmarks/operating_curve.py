"""How often the verdict on p_core is right: simulated runs of devices that are known to be too slow or not."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from benchmarks.operating_document import document, plot
from evidence.bundle import Evidence, Run
from evidence.errors import SuiteError
from evidence.events import STEP_COLUMNS, RankEvidence, Start, TrainEnd, Windows
from evidence.verdict import Verdict
from expected import METRICS, PUBLISHED, Expectation, default_bounds
from verdict.judge import judge_metric
from verdict.metrics.throughput import p_core

RUNS = 2000
STEPS, WINDOW, RANKS, BATCH = 200, 20, 2, 16
NOISE = 0.03
"""Standard deviation of a step's time, as a share of its mean."""
CORRELATIONS = (0.0, 0.5, 0.8)
"""Of the time of a step with that of the next; noise is a first-order autoregression, independent in each rank."""
OFFSETS_PERCENT = tuple(range(-10, 6))
"""How much faster the device is than published; -10 is a device that delivers nine tenths."""
SEED = 20171117
DOCS = Path(__file__).resolve().parents[1] / "docs"

_PUBLISHED_IMAGES_PER_S = 64.0


@dataclass(frozen=True)
class Point:
    """How the simulated runs of one device were judged: how many got which verdict."""

    offset_percent: int
    correlation: float
    count: Mapping[str, int]

    @property
    def runs(self) -> int:
        """How many were simulated."""
        return sum(self.count.values())

    def share(self, verdict: str) -> float:
        """Which part of the runs got the verdict, 0..1."""
        return self.count[verdict] / self.runs


def operating_point(offset_percent: int, correlation: float, runs: int = RUNS) -> Point:
    """Judge simulated runs of a device whose true p_core lies `offset_percent` above what is published.

    Every point has random numbers of its own, the same ones whichever other points are asked for. Raises SuiteError
    for a verdict other than pass, fail and inconclusive, which no sound run may get.
    """
    expectation = published()
    count = dict.fromkeys((Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE), 0)
    for evidence in simulated_runs(offset_percent, correlation, runs):
        judged = judge_metric("p_core", expectation, p_core(evidence))
        if judged.verdict not in count:
            raise SuiteError(f"found the verdict {judged.verdict} ({judged.reason}), expected one of a sound run")
        count[judged.verdict] += 1
    return Point(offset_percent, correlation, count)


def published() -> Expectation:
    """What the simulated devices are held against, with the default bounds."""
    low, high = default_bounds(METRICS["p_core"], _PUBLISHED_IMAGES_PER_S)
    return Expectation(PUBLISHED, _PUBLISHED_IMAGES_PER_S, low, high, source="the simulation")


def simulated_runs(offset_percent: int, correlation: float, runs: int, steps: int = STEPS) -> Iterator[Evidence]:
    """The evidence of steady runs, without warm-up, as reading their files would give it."""
    seed = [SEED, round(100 * correlation), round(100 * (100 + offset_percent)), steps]
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    step_ns = 1e9 * RANKS * BATCH / (_PUBLISHED_IMAGES_PER_S * (1 + offset_percent / 100))
    ranks = [_rank(rank, steps) for rank in range(RANKS)]
    run = _with_nothing_but(Run, protocol="steady", steps=steps)
    noise = NOISE * autoregression(generator, (runs * RANKS, steps), correlation)
    compute_ns = np.rint(step_ns * (1 + noise)).astype(np.int64).reshape(runs, RANKS, steps)
    for of_run in compute_ns:
        measured = tuple(
            replace(rank, windows=replace(rank.windows, compute_ns=of_rank)) for rank, of_rank in zip(ranks, of_run)
        )
        yield _with_nothing_but(Evidence, path=Path("simulated"), run=run, ranks=measured, problems=())


def autoregression(generator: np.random.Generator, shape: tuple[int, int], correlation: float) -> np.ndarray:
    """Normal noise of mean 0 and deviation 1, float64 of `shape`: each entry of a row resembles the one before it."""
    fresh = generator.standard_normal(shape) * (1 - correlation**2) ** 0.5
    noise = np.empty(shape)
    noise[:, 0] = generator.standard_normal(shape[0])  # from the start as scattered as later on
    for at in range(1, shape[1]):
        noise[:, at] = correlation * noise[:, at - 1] + fresh[:, at]
    return noise


def _rank(rank: int, steps: int) -> RankEvidence:
    sizes = np.full(-(-steps // WINDOW), WINDOW, dtype=np.int64)
    sizes[-1] -= sizes.sum() - steps
    columns = {
        field.name: np.zeros(steps if field.name in STEP_COLUMNS else len(sizes), dtype=np.int64)
        for field in fields(Windows)
    }
    columns.update(size=sizes, warmup=np.zeros(len(sizes), dtype=bool), images=np.full(steps, BATCH, dtype=np.int64))
    measured: RankEvidence = _with_nothing_but(
        RankEvidence,
        rank=rank,
        file=f"rank-{rank:04d}.jsonl",
        start=_with_nothing_but(Start, rank=rank, timing="simulated"),
        windows=Windows(**columns),
        train_begin_ns=0,
        train_end=TrainEnd(t_ns=1, images=steps * BATCH, steps=steps, ledger={"evaluation_ns": 0}),
    )
    return measured


def _with_nothing_but(kind: type[Any], **known: Any) -> Any:
    """An object of a dataclass with None wherever p_core does not look."""
    return kind(**{**dict.fromkeys(field.name for field in fields(kind)), **known})


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, print every point, and, where nothing was shortened, write the document and its plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operating_curve", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="simulated runs a point (default %(default)s)")
    parser.add_argument(
        "--points",
        type=int,
        nargs="+",
        default=list(OFFSETS_PERCENT),
        help="how much faster than published the devices are, in percent (default -10 to 5)",
    )
    arguments = parser.parse_args(argv)
    if arguments.runs < 1 or min(arguments.points) <= -100:
        parser.error("expected at least one run and devices that move: --runs 1 or more, --points above -100")
    whole = arguments.runs == RUNS and arguments.points == list(OFFSETS_PERCENT)
    if whole and importlib.util.find_spec("matplotlib") is None:
        print('found no matplotlib, which draws the plot; install it: pip install ".[docs]"', file=sys.stderr)
        return 1
    points = []
    for correlation in CORRELATIONS:
        for offset_percent in arguments.points:
            points.append(operating_point(offset_percent, correlation, arguments.runs))
            print(_line(points[-1]), flush=True)
    if not whole:
        print("a quick try: docs/ is left as it is")
        return 0
    (DOCS / "operating-curve.svg").write_text(plot(points), encoding="utf-8")
    words = document(points, seed=SEED, steps=STEPS, window=WINDOW, ranks=RANKS, noise=NOISE)
    (DOCS / "operating-curve.md").write_text(words, encoding="utf-8")
    print(f"written: {DOCS / 'operating-curve.md'} and its plot")
    return 0


def _line(point: Point) -> str:
    shares = ", ".join(f"{verdict} {point.share(verdict):.1%}" for verdict in point.count)
    return f"correlation {point.correlation:.1f}, {point.offset_percent:+d} %: {shares}"


if __name__ == "__main__":
    sys.exit(main())
