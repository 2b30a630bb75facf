"""A run's evidence bundle: run.json, the ranks' events and the telemetry, read without trusting any of it."""

from __future__ import annotations

import contextlib
import gc
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator

from evidence.codec import FieldError
from evidence.errors import EvidenceError
from evidence.events.rank import RankEvidence
from evidence.events.setup import Start
from evidence.files import RANK_FILE, RUN_FILE, TELEMETRY_FILE, Problems, whole_lines
from evidence.rank_file import read_rank
from evidence.run_file import Run, decode_run
from evidence.seal import file_states, read_seal, seal_problems, verified_signer
from evidence.telemetry import Telemetry, read_telemetry


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that a run left behind, as far as it could be read.

    `run` is None when run.json is missing or damaged. `ranks` are ordered by rank. `problems` says what is
    missing or damaged, each with its file and line; evidence with problems proves nothing. `seal` is the content of
    SHA256SUMS, `run_sha256` the digest of run.json; both are empty without the file. `notes` are what a session found
    out about the bundle: who signed its seal, whether its detections were scored again. `signer` is the name in the
    allowed_signers file under which its seal's signature was verified; empty where no signature was required.
    """

    path: Path
    run: Run | None
    ranks: tuple[RankEvidence, ...]
    telemetry: Telemetry
    problems: tuple[str, ...]
    seal: bytes = b""
    run_sha256: str = ""
    notes: tuple[str, ...] = ()
    signer: str = ""

    @property
    def simulated(self) -> bool:
        """Whether anything in the bundle says that no real device was at work."""
        launched = self.run is not None and self.run.simulated
        return launched or any(start.simulated for _, start in self.starts)

    @property
    def stopped(self) -> str:
        """Why --fail-fast ended the run before its end; "" if it did not."""
        return "" if self.run is None else self.run.boot.stopped or ""

    @property
    def starts(self) -> tuple[tuple[int, Start], ...]:
        """(rank, how it introduced itself) of every rank that did."""
        return tuple((rank.rank, rank.start) for rank in self.ranks if rank.start is not None)


def read_run(run_dir: Path, run_json: bytes | None = None) -> Evidence:
    """Return the bundle in `run_dir`, each file of which is opened once.

    `run_json` is the content of run.json where it was read already. Damaged, missing or contradictory content is
    collected in `problems` and never raises. Raises EvidenceError where there is no such folder.

    >>> evidence = read_run(Path("tests/stored/virtual-1x2"))
    >>> evidence.problems, [rank.windows.measured.steps for rank in evidence.ranks]
    ((), [400, 400])
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise EvidenceError(f"{run_dir}: found no such folder, expected a run's; give one from the runs folder")
    with no_collections():
        before = file_states(run_dir)
        evidence = _Reader(run_dir).read(run_json)
        if file_states(run_dir) == before:
            return evidence
    changed = f"{run_dir.name}: a file of evidence changed while it was read; judge a copy that nobody writes to"
    return replace(evidence, problems=(*evidence.problems, changed))


def with_signature(evidence: Evidence, allowed: Path) -> Evidence:
    """Return the evidence with its signer noted, or with what is wrong with its seal's signature as first problem.

    `allowed` is an allowed_signers file of OpenSSH. Raises EvidenceError as `verified_signer` does.
    """
    signer, problem = verified_signer(evidence.path, evidence.seal, allowed)
    if problem:
        return replace(evidence, problems=(problem, *evidence.problems))
    return replace(evidence, notes=(*evidence.notes, f"signed by {signer}"), signer=signer)


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Spare the garbage collector: millions of numbers come and go here, and nothing refers back to itself."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class _Reader:
    """Reads a bundle's files, keeps what is wrong with each, and the digests that the seal is compared with."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._logs: list[Problems] = []
        self._digests: dict[str, str] = {}

    def read(self, run_json: bytes | None) -> Evidence:
        run = self._run(run_json)
        whole = run is None or not run.boot.stopped
        ranks = self._ranks(whole=whole)
        # Whether memory had to be sampled is for the measurement to say: a run that never booted has no samples.
        names = sorted(path.name for path in self._run_dir.glob("telemetry*.jsonl"))
        files = [self._content(name) for name in names if TELEMETRY_FILE.fullmatch(name)]
        files = files if whole else [(whole_lines(content), problems) for content, problems in files]
        telemetry = read_telemetry(files)
        found = [problem for log in self._logs for problem in log.all()]
        # The seal comes last: damage inside a file says more than that the file is not the one that was sealed.
        seal = read_seal(self._run_dir)
        problems = (*found, *seal_problems(self._run_dir, self._digests, seal))
        return Evidence(self._run_dir, run, ranks, telemetry, problems, seal, self._digests.get(RUN_FILE, ""))

    def _content(self, name: str, content: bytes | None = None) -> tuple[bytes, Problems]:
        problems = Problems(name)
        self._logs.append(problems)
        path = self._run_dir / name
        try:
            if content is None and path.exists() and not path.is_file():
                raise OSError(0, "not a regular file")  # a FIFO would never come to an end
            content = path.read_bytes() if content is None else content
        except OSError as error:
            problems.add(f"cannot be read: {error.strerror}")
            return b"", problems
        self._digests[name] = hashlib.sha256(content).hexdigest()
        return content, problems

    def _run(self, run_json: bytes | None) -> Run | None:
        content, problems = self._content(RUN_FILE, run_json)
        try:
            return None if problems.all() else decode_run(content)
        except FieldError as error:
            problems.add(str(error))
        except ValueError as error:
            problems.add(f"not a JSON object ({error})")
        return None

    def _ranks(self, *, whole: bool) -> tuple[RankEvidence, ...]:
        """Return the ranks' events; those of a run that was ended on purpose (not `whole`) may end anywhere."""
        ranks: dict[int, RankEvidence] = {}
        for path in sorted(self._run_dir.glob("rank-*.jsonl")):
            match = RANK_FILE.fullmatch(path.name)
            rank = int(match.group(1)) if match else -1
            if match and rank not in ranks:
                content, log = self._content(path.name)
                ranks[rank] = read_rank(content, rank, log, whole=whole)
                continue
            problems = Problems(path.name)
            self._logs.append(problems)
            taken = f"rank {rank} has {ranks[rank].file} already; expected one file a rank" if match else ""
            problems.add(taken or "the name is not that of a rank's file; expected rank-NNNN.jsonl")
        return tuple(ranks[rank] for rank in sorted(ranks))
