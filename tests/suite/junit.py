"""Runs the suite as a person does, and reads the JUnit file that it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

from expected import METRICS
from tests.forked import Forked
from tests.support import ROOT

_TIMEOUT_S = 600.0
_ASKING = {"--gate", "--replay"}


@dataclass(frozen=True)
class Case:
    """One test case: its name, how it ended (passed, failure, error or skipped), what was said, its properties."""

    name: str
    outcome: str
    message: str
    properties: dict[str, str]


@dataclass(frozen=True)
class Session:
    """A finished pytest session."""

    code: int
    output: str
    cases: dict[str, Case]
    counts: dict[str, int]
    runs: list[Path]

    @property
    def last_line(self) -> str:
        """The last line of its output, which under `--gate` is the gate's."""
        return self.output.rstrip("\n").splitlines()[-1]

    @property
    def by_metric(self) -> dict[str, Case]:
        """The cases that ask about a metric of the tables, by its name."""
        found = {case.properties.get("metric", ""): case for case in self.cases.values()}
        return {name: case for name, case in found.items() if name in METRICS}


def run_suite(folder: Path, *arguments: Any, **environment: str) -> Session:
    """Run `pytest` with `arguments` from the project's root, its runs and its report under `folder`.

    The session is forked from a process that has its imports done, and forks the ranks of simulated devices likewise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words, variables, output = _command(folder, arguments), _environment(environment), folder / "output"
    variables["PYTEST_PLUGINS"] = "tests.forked_ranks"
    if any(name.startswith("PYTHON") for name in environment):
        return _in_a_process(folder, words, variables)  # Python reads those when it starts
    session = Forked(
        "tests.forked:pytest_session", *words, environment=variables, output=str(output), server="SESSIONS"
    )
    try:
        code = session.wait(_TIMEOUT_S)
    finally:
        session.kill()
    said = output.read_text(encoding="utf-8")
    output.unlink()
    return _session(folder, code, said)


def launch_suite(folder: Path, *arguments: Any, **environment: str) -> Session:
    """Do so as a person does: a process of its own, whose agents start torchrun."""
    return _in_a_process(folder, _command(folder, arguments), _environment(environment))


def _command(folder: Path, arguments: Sequence[Any]) -> list[str]:
    words = ["-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}", f"--junitxml={folder / 'report.xml'}"]
    words.append(f"--runs={folder / 'runs'}")
    for argument in arguments:
        if isinstance(argument, Path) and words[-1].startswith("--"):
            words[-1] += f"={argument}"  # a path on its own, pytest may take for the place of its configuration
        else:
            words.append(str(argument))
    # The history costs a second and the probes several, and few sessions are about them. A gate asks for all.
    words += [] if "--history" in words else ["--history", "none"]
    given = {word.partition("=")[0] for word in words}
    return words + [one for flag in ("--numerics", "--links") if not given & {flag, *_ASKING} for one in (flag, "none")]


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    # xdist gives its workers a terminal's width, and a session folds its tables to that.
    ours = ("PYTEST_", "COV_", "COLUMNS")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return {**inherited, **added}


def _in_a_process(folder: Path, words: Sequence[str], environment: Mapping[str, str]) -> Session:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=str(ROOT),
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # in the order of writing, as on a terminal
        text=True,
        timeout=_TIMEOUT_S,
    )
    return _session(folder, done.returncode, done.stdout)


def _session(folder: Path, code: int, output: str) -> Session:
    report = folder / "report.xml"
    cases, counts = read_junit(report) if report.exists() else ({}, {})
    return Session(code, output, cases, counts, sorted((folder / "runs").glob("*Z-*")))


def starts_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the first event of each rank of a run."""
    return [json.loads(path.read_text().splitlines()[0]) for path in sorted(run_dir.glob("rank-*.jsonl"))]


def read_junit(report: Path) -> tuple[dict[str, Case], dict[str, int]]:
    """Return the cases by name, and the totals that the file states."""
    suites = ElementTree.parse(str(report)).getroot().findall("testsuite")
    counts: dict[str, int] = {}
    cases = {}
    for suite in suites:
        for key in ("tests", "failures", "errors", "skipped"):
            counts[key] = counts.get(key, 0) + int(suite.get(key, "0"))
        for element in suite.iter("testcase"):
            children = [child for child in element if child.tag in ("failure", "error", "skipped")]
            outcome = children[0].tag if children else "passed"
            message = f"{children[0].get('message')} {children[0].text}" if children else ""
            properties = {p.attrib["name"]: p.attrib["value"] for p in element.iter("property")}
            name = element.get("name", "")  # pytest writes none for a test in which the session was interrupted
            cases[name] = Case(name, outcome, message, properties)
    return cases, counts
