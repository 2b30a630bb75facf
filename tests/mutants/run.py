"""Runs the unit tests of verdict/ against mutants, one after another, in a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]

FITTING: Mapping[str, tuple[str, ...]] = {
    "__main__": ("main",),
    "accept": ("accept",),
    "accounts": ("invariants", "memory", "attempts"),
    "atomic": ("atomic", "record"),
    "attempts": ("attempts",),
    "baseline_file": ("baseline_file", "accept"),
    "changes": ("changes",),
    "clocks": ("clocks",),
    "contrast": ("contrast",),
    "course": ("invariants", "attempts"),
    "environment": ("environment",),
    "environment_rules": ("environment",),
    "events": ("rank_file", "measure", "invariants"),
    "evidence": ("invariants", "evidence", "attempts"),
    "fields": ("fields",),
    "host_facts": ("host_facts", "environment"),
    "identity": ("invariants", "judge"),
    "invariants": ("invariants", "judge", "attempts"),
    "jsonlines": ("jsonlines",),
    "judge": ("judge", "stragglers", "changes", "memory", "invariants", "attempts"),
    "likeness": ("likeness",),
    "lookup": ("lookup",),
    "measure": ("measure", "judge", "attempts"),
    "memory": ("memory", "invariants"),
    "provenance": ("provenance", "accept"),
    "rank_file": ("rank_file", "clocks", "invariants"),
    "record": ("record",),
    "reduction": ("reduction",),
    "scaling": ("scaling",),
    "seal": ("seal", "evidence"),
    "siblings": ("siblings",),
    "spread": ("spread",),
    "stated_texts": ("stated_texts",),
    "statistics": ("statistics",),
    "step_times": ("step_times",),
    "steps_in_time": ("steps_in_time",),
    "stragglers": ("stragglers",),
    "telemetry": ("telemetry", "memory"),
    "throughput": ("measure", "judge"),
    "wording": ("wording",),
    "workload": ("workload",),
}
"""The files of tests/verdict that are asked first, by module; the others only where these notice nothing."""

_TESTS = "tests/verdict"
_SLOW = f"{_TESTS}/test_operating_characteristic.py"  # thousands of simulated runs, which say little of a single line
_LIMIT_S = 900
_OPTIONS = ("-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:benchmark")


class Outcome(NamedTuple):
    """`failed` is the first test that failed; `trouble` why the tests could not be asked."""

    failed: str
    trouble: str


class Workshop:
    """A copy of the project in `folder`, in which modules may be broken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_the_project(cls, folder: Path) -> Workshop:
        """Copy what git knows of, and what it does not ignore, into `folder`."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=str(ROOT), capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(ROOT / name), str(folder / name))
        return cls(folder)

    def copied(self, folder: Path) -> Workshop:
        """Another one, in `folder`."""
        shutil.copytree(str(self._folder), str(folder))
        return Workshop(folder)

    def all_tests(self) -> Outcome:
        """What the unit tests say of the modules as they are."""
        return self._ask([_TESTS, f"--ignore={_SLOW}"])

    def killer(self, mutant: Mutant) -> Outcome:
        """The first test that notices the mutant."""
        path = self._folder / "verdict" / f"{mutant.module}.py"
        before = path.read_text(encoding="utf-8")
        fitting = [f"{_TESTS}/test_{name}.py" for name in FITTING[mutant.module]]
        try:
            self._write(path, mutant.applied(before))
            outcome = self._ask(fitting)
            if outcome != Outcome("", ""):
                return outcome
            return self._ask([_TESTS, *(f"--ignore={asked}" for asked in (*fitting, _SLOW))])
        finally:
            self._write(path, before)

    def _write(self, path: Path, source: str) -> None:
        # Python tells stale bytecode by size and whole seconds; two mutants may agree in both.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
        path.write_text(source, encoding="utf-8")

    def _ask(self, tests: Sequence[str]) -> Outcome:
        # CI: hypothesis then draws the same examples every time, and does not mind how long it takes.
        environment = {**os.environ, "CI": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", *tests, *_OPTIONS]
        try:
            done = subprocess.run(
                command, cwd=str(self._folder), env=environment, capture_output=True, text=True, timeout=_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return Outcome("", f"no answer within {_LIMIT_S} s")
        lines = done.stdout.splitlines()
        failed = [line.split(" ", 1)[1].split(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR "))]
        if done.returncode == 1 and failed:
            return Outcome(failed[0][len(_TESTS) + 1 :], "")
        if done.returncode == 0:
            return Outcome("", "")
        return Outcome(
            "", f"pytest ended with exit code {done.returncode}: {(done.stdout + done.stderr)[-300:].strip()}"
        )
