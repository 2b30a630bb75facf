"""A run's evidence bundle: run.json, the ranks' events and the telemetry, read without trusting any of it."""

from __future__ import annotations

import contextlib
import gc
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Iterator, Mapping

from evidence.errors import EvidenceError
from evidence.events import SCHEMA, RankEvidence, Start
from evidence.fields import FieldError, KindError, decode, flag, number, table, text, texts, whole
from evidence.jsonlines import Problems, parse_object
from evidence.rank_file import read_rank
from evidence.seal import file_states, seal_problems
from evidence.telemetry import Telemetry, read_telemetry

RUN_FILE = "run.json"
_TELEMETRY_FILE = re.compile(r"telemetry(?:-[0-9]{4,9})?\.jsonl")  # the first host's has no number
_RANK_FILE = re.compile(r"rank-([0-9]{4,9})\.jsonl")


@dataclass(frozen=True)
class Boot:
    """How the launch went: `exit_code` None and no failure means that it never came to an end.

    `phase` is "" and `message` is "" where nothing failed. `elapsed_s` and `elapsed_utc_s` say how long the launch took
    by a monotonic clock and by the time of day.
    """

    exit_code: int | None
    failed: bool
    phase: str
    message: str
    elapsed_s: float | None = None
    elapsed_utc_s: float | None = None


@dataclass(frozen=True)
class RunCell:
    """The cell as it was when the run began."""

    id: str
    device: str
    topology: str
    precision: str
    batch_size: int
    learning_rate: float
    timing: str | None = None


@dataclass(frozen=True)
class Run:
    """What was launched: run.json. `steps` and `epochs` are the limits in force, where there are any.

    `restarts` says of each attempt that broke off, why; what is in the ranks' files is the attempt after the last.
    """

    id: str
    cell: RunCell
    protocol: str
    recipe: Mapping[str, Any]
    simulated: bool
    backend: str
    boot: Boot
    steps: int | None
    epochs: int | None
    card_memory_gib: float | None
    expectation: Mapping[str, Any] | None = None  # by metric, as it was when the run began
    restarts: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # optimizations of the trainer that were switched off


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
        match = _RANK_FILE.fullmatch(path.name)
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
    paths = [path for path in sorted(run_dir.glob("telemetry*.jsonl")) if _TELEMETRY_FILE.fullmatch(path.name)]
    files = [(path, Problems(path.name)) for path in paths]
    logs += [problems for _, problems in files]
    return read_telemetry(files)


def _read_run_file(path: Path, problems: Problems) -> Run | None:
    try:
        return _run(parse_object(path.read_bytes()))
    except OSError as error:
        problems.add(f"cannot be read: {error.strerror}")
    except FieldError as error:
        problems.add(str(error))
    except ValueError as error:
        problems.add(f"not a JSON object ({error})")
    return None


def _run(record: dict[str, Any]) -> Run:
    values = decode(
        record,
        {
            "schema": whole,
            "id": text,
            "cell": _cell,
            "protocol": text,
            "recipe": table,
            "simulated": flag,
            "backend": text,
            "boot": _boot,
        },
        {
            "steps": whole,
            "epochs": whole,
            "card_memory_gib": number,
            "expectation": table,
            "restarts": _restarts,
            "without": texts,
        },
    )
    values.update(restarts=values["restarts"] or (), without=values["without"] or ())
    schema = values.pop("schema")
    if schema != SCHEMA:
        raise FieldError(f"schema {schema}, expected {SCHEMA}; judge it with the version that wrote it")
    return Run(**values)


def _restarts(value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise KindError("a list of restarts")
    told = [decode(table(restart), {"phase": text, "message": text}) for restart in value]
    return tuple(f"{one['phase']}: {one['message']}" for one in told)


def _cell(value: Any) -> RunCell:
    kinds = dict.fromkeys(("id", "device", "topology", "precision"), text)
    return RunCell(**decode(table(value), {**kinds, "batch_size": whole, "learning_rate": number}, {"timing": text}))


def _boot(value: Any) -> Boot:
    values = decode(
        table(value), {}, {"exit_code": whole, "failure": table, "elapsed_s": number, "elapsed_utc_s": number}
    )
    failure = values["failure"]
    words = decode(failure or {}, {}, {"phase": text, "message": text})
    return Boot(
        exit_code=values["exit_code"],
        failed=failure is not None,
        phase=words["phase"] or "",
        message=words["message"] or "",
        elapsed_s=values["elapsed_s"],
        elapsed_utc_s=values["elapsed_utc_s"],
    )
