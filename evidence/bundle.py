"""A run's evidence bundle: run.json, the ranks' events and the telemetry, read without trusting any of it."""

from __future__ import annotations

import contextlib
import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator

from evidence.codec import FieldError
from evidence.errors import EvidenceError
from evidence.events import RankEvidence, Start
from evidence.files import RANK_FILE, RUN_FILE, TELEMETRY_FILE
from evidence.jsonlines import Problems
from evidence.rank_file import read_rank
from evidence.run_file import Run, decode_run
from evidence.seal import file_states, seal_problems
from evidence.telemetry import Telemetry, read_telemetry


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that a run left behind, as far as it could be read.

    `run` is None when run.json is missing or damaged. `ranks` are ordered by rank. `problems` says what is
    missing or damaged, each with its file and line; evidence with problems proves nothing.
    """

    path: Path
    run: Run | None
    ranks: tuple[RankEvidence, ...]
    telemetry: Telemetry
    problems: tuple[str, ...]

    @property
    def simulated(self) -> bool:
        """Whether anything in the bundle says that no real device was at work."""
        launched = self.run is not None and self.run.simulated
        return launched or any(start.simulated for _, start in self.starts)

    @property
    def starts(self) -> tuple[tuple[int, Start], ...]:
        """(rank, how it introduced itself) of every rank that did."""
        return tuple((rank.rank, rank.start) for rank in self.ranks if rank.start is not None)


def read_run(run_dir: Path) -> Evidence:
    """Read the bundle in `run_dir`.

    Damaged, missing or contradictory content is collected in `problems` and never raises; only a folder that
    is not there raises EvidenceError.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise EvidenceError(f"{run_dir}: found no such folder, expected a run's; give one from the runs folder")
    with _no_collections():
        before = file_states(run_dir)
        evidence = _read_run(run_dir)
        if file_states(run_dir) == before:
            return evidence
    changed = f"{run_dir.name}: a file of evidence changed while it was read; judge a copy that nobody writes to"
    return replace(evidence, problems=(*evidence.problems, changed))


def _read_run(run_dir: Path) -> Evidence:
    logs = [Problems(RUN_FILE)]
    run = _read_run_file(run_dir / RUN_FILE, logs[0])
    ranks = _read_ranks(run_dir, logs)
    # Whether memory had to be sampled is for the measurement to say: a run that never booted has no samples.
    telemetry = _read_telemetry(run_dir, logs)
    # The seal comes last: what is wrong inside a file says more than that the file is not the one that was sealed.
    problems = (*(problem for log in logs for problem in log.all()), *seal_problems(run_dir))
    return Evidence(run_dir, run, ranks, telemetry, problems)


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Spare the garbage collector: millions of numbers come and go here, and nothing refers back to itself."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _read_ranks(run_dir: Path, logs: list[Problems]) -> tuple[RankEvidence, ...]:
    ranks: dict[int, RankEvidence] = {}
    for path in sorted(run_dir.glob("rank-*.jsonl")):
        problems = Problems(path.name)
        logs.append(problems)
        match = RANK_FILE.fullmatch(path.name)
        if match is None:
            problems.add("the name is not that of a rank's file; expected rank-NNNN.jsonl")
            continue
        number_of_rank = int(match.group(1))
        if number_of_rank in ranks:
            problems.add(f"rank {number_of_rank} has {ranks[number_of_rank].file} already; expected one file a rank")
            continue
        ranks[number_of_rank] = read_rank(path, number_of_rank, problems)
    return tuple(ranks[rank] for rank in sorted(ranks))


def _read_telemetry(run_dir: Path, logs: list[Problems]) -> Telemetry:
    paths = [path for path in sorted(run_dir.glob("telemetry*.jsonl")) if TELEMETRY_FILE.fullmatch(path.name)]
    files = [(path, Problems(path.name)) for path in paths]
    logs += [problems for _, problems in files]
    return read_telemetry(files)


def _read_run_file(path: Path, problems: Problems) -> Run | None:
    try:
        return decode_run(path.read_bytes())
    except OSError as error:
        problems.add(f"cannot be read: {error.strerror}")
    except FieldError as error:
        problems.add(str(error))
    except ValueError as error:
        problems.add(f"not a JSON object ({error})")
    return None
