"""How often the verdict on p_core is right: simulated runs of devices that are known to be too slow or not."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from benchmarks.judging.noise import BETWEEN_RUNS, KINDS, STALLS, Noise
from benchmarks.judging.operating_document import SLOW_PERCENT, SOUND_PERCENT, document, plot
from evidence.bundle import Evidence, Run
from evidence.errors import SuiteError
from evidence.events.rank import RankEvidence, Windows
from evidence.events.setup import Start
from evidence.events.training import STEP_COLUMNS, TrainEnd
from evidence.files import SCHEMA
from evidence.verdict import Verdict
from expected import METRICS, PUBLISHED, Expectation, default_bounds
from verdict.bounds import judge_metric
from verdict.metrics.measure import together
from verdict.metrics.measurement import Measurement
from verdict.metrics.throughput import DECISIVE_STEPS, p_core

RUNS = 2000
SHORT_STEPS, LEAST_STEPS, FULL_STEPS = 200, DECISIVE_STEPS, 7_329
"""`--steps 200`, the shortest steady run that decides, and an epoch of COCO on one device with batches of 16."""
LONG_STEPS = 4 * FULL_STEPS
"""So many are simulated only of rare stalls, of which an epoch holds too few."""
BOOTS = (1, 3, 5)
WINDOW, BATCH = 20, 16
OFFSETS_PERCENT = tuple(range(-10, 6))
"""How much faster the device is than published; -10 is a device that delivers nine tenths."""
SEED = 20171117
DOCS = Path(__file__).resolve().parents[2] / "docs"

_IMAGES_PER_S = 64.0  # of every simulated device; what is published differs
_AT_ONCE = 200  # runs whose noise is made together
_POSSIBLE = (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)


@dataclass(frozen=True)
class Point:
    """How the simulated runs of one device were judged: how many got which verdict."""

    kind: str
    steps: int
    offset_percent: int
    count: Mapping[str, int]

    @property
    def runs(self) -> int:
        """How many were simulated."""
        return sum(self.count.values())

    def share(self, verdict: str) -> float:
        """Which part of the runs got the verdict, 0..1."""
        return self.count[verdict] / self.runs


def operating_points(kind: Noise, steps: int, offsets_percent: Sequence[int], runs: int = RUNS) -> list[Point]:
    """Judge simulated runs of devices whose true p_core lies so many percent above what is published.

    The same runs are held against each published number. They are the same ones whichever other points are asked for.
    Raises SuiteError for a verdict other than pass, fail and inconclusive, which no sound run may get.
    """
    counts = {offset: dict.fromkeys(_POSSIBLE, 0) for offset in offsets_percent}
    published = {offset: expectation(offset) for offset in offsets_percent}
    for measured in measurements(kind, steps, runs):
        for offset, known in published.items():
            judged = judge_metric("p_core", known, measured)
            if judged.verdict not in _POSSIBLE:
                raise SuiteError(f"found {judged.verdict} ({judged.reason}), expected a verdict of a sound run")
            counts[offset][judged.verdict] += 1
    return [Point(kind.name, steps, offset, counts[offset]) for offset in offsets_percent]


@dataclass(frozen=True)
class Boots:
    """Which part of the sessions passed that booted a device so often, judged together."""

    boots: int
    offset_percent: int
    passed: float


def boots_points(boots: int, offsets_percent: Sequence[int], runs: int = RUNS) -> list[Boots]:
    """Judge sessions of `boots` full-length runs of devices whose speed differs by 1 % from run to run."""
    kind = next(kind for kind in KINDS if kind.name == BETWEEN_RUNS)
    sessions, found = runs // boots, measurements(kind, FULL_STEPS, runs)
    passed = dict.fromkeys(offsets_percent, 0)
    for _ in range(sessions):
        measured = [next(found) for _ in range(boots)]
        joint = together(measured) if boots > 1 else measured[0]
        for offset in passed:
            passed[offset] += judge_metric("p_core", expectation(offset), joint).verdict is Verdict.PASS
    return [Boots(boots, offset, count / sessions) for offset, count in passed.items()]


def expectation(offset_percent: int) -> Expectation:
    """What is published where the simulated devices are so much faster, with the default bounds."""
    value = _IMAGES_PER_S / (1 + offset_percent / 100)
    low, high = default_bounds(METRICS["p_core"], value)
    return Expectation(PUBLISHED, value, low, high, source="the simulation")


def measurements(kind: Noise, steps: int, runs: int) -> Iterator[Measurement]:
    """p_core of each simulated run."""
    for evidence in simulated_runs(kind, steps, runs):
        found = p_core(evidence)
        assert found is not None
        yield found


def simulated_runs(kind: Noise, steps: int, runs: int) -> Iterator[Evidence]:
    """The evidence of steady runs on one real device, without warm-up, as reading their files would give it."""
    seed = np.random.SeedSequence([SEED, KINDS.index(kind), steps])
    generator = np.random.Generator(np.random.PCG64(seed))
    run = _with_nothing_but(Run, protocol="steady", steps=steps)
    rank, step_ns = _rank(steps), 1e9 * BATCH / _IMAGES_PER_S
    for first in range(0, runs, _AT_ONCE):
        relative = kind.times(generator, (_AT_ONCE, steps))[: runs - first]
        for compute_ns in np.rint(step_ns * relative).astype(np.int64):
            measured = replace(rank, windows=replace(rank.windows, compute_ns=compute_ns))
            yield _with_nothing_but(Evidence, path=Path("simulated"), run=run, ranks=(measured,), problems=())


def _rank(steps: int) -> RankEvidence:
    sizes = np.full(-(-steps // WINDOW), WINDOW, dtype=np.int64)
    sizes[-1] -= sizes.sum() - steps
    columns = {
        field.name: np.zeros(steps if field.name in (*STEP_COLUMNS, "trained") else len(sizes), dtype=np.int64)
        for field in fields(Windows)
    }
    images = np.full(steps, BATCH, dtype=np.int64)
    columns.update(size=sizes, warmup=np.zeros(len(sizes), dtype=bool), images=images, trained=images)
    measured: RankEvidence = _with_nothing_but(
        RankEvidence,
        rank=0,
        file="rank-0000.jsonl",
        start=_with_nothing_but(Start, schema=SCHEMA, rank=0, timing="simulated", simulated=False),
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judging.operating_curve", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="simulated runs of each kind (default %(default)s)")
    names = [kind.name for kind in KINDS]
    parser.add_argument("--kinds", nargs="+", choices=names, default=names, metavar="KIND", help="of noise, by name")
    arguments = parser.parse_args(argv)
    kinds = [kind for kind in KINDS if kind.name in arguments.kinds]
    whole = arguments.runs == RUNS and len(kinds) == len(KINDS)
    if whole and importlib.util.find_spec("matplotlib") is None:
        print('found no matplotlib, which draws the plot; install it: pip install ".[docs]"', file=sys.stderr)
        return 1
    points = []
    for steps in (SHORT_STEPS, LEAST_STEPS, FULL_STEPS):
        for kind in kinds:
            # The curves are of the longest runs; of shorter ones only whether an answer is wrong.
            offsets = OFFSETS_PERCENT if steps == FULL_STEPS else (SLOW_PERCENT, SOUND_PERCENT)
            points += operating_points(kind, steps, offsets, arguments.runs)
            print("\n".join(map(_line, points[-len(offsets) :])), flush=True)
    if not whole:
        print("a quick try: docs/ is left as it is")
        return 0
    stalls = next(kind for kind in kinds if kind.name == STALLS)
    long = operating_points(stalls, LONG_STEPS, (SLOW_PERCENT, SOUND_PERCENT), arguments.runs)
    boots = [one for count in BOOTS for one in boots_points(count, (-6, SOUND_PERCENT), arguments.runs)]
    (DOCS / "operating-curve.svg").write_text(plot(points, FULL_STEPS), encoding="utf-8")
    words = document(points, long, boots, KINDS, seed=SEED, window=WINDOW)
    (DOCS / "operating-curve.md").write_text(words, encoding="utf-8")
    print(f"written: {DOCS / 'operating-curve.md'} and its plot")
    return 0


def _line(point: Point) -> str:
    shares = ", ".join(f"{verdict} {point.share(verdict):.1%}" for verdict in point.count)
    return f"{point.steps} steps, {point.kind}, {point.offset_percent:+d} %: {shares}"


if __name__ == "__main__":
    sys.exit(main())
