"""Runs the suite as a person does, in a process of its own, and reads the JUnit file that it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expected import METRICS
from tests.support import ROOT


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
    def by_metric(self) -> dict[str, Case]:
        """The cases that ask about a metric of the tables, by its name."""
        told = {case.properties.get("metric", ""): case for case in self.cases.values()}
        return {name: case for name, case in told.items() if name in METRICS}


def run_suite(folder: Path, *arguments: Any, **environment: str) -> Session:
    """Run `pytest` with `arguments` from the project's root, its runs and its report under `folder`."""
    report = folder / "report.xml"
    runs = folder / "runs"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}"]
    command += [f"--junitxml={report}", "--runs", str(runs), *map(str, arguments)]
    if "--history" not in arguments:  # costs a second, and few sessions are about it
        command += ["--history", "none"]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        command,
        cwd=str(ROOT),
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # in the order of writing, as on a terminal
        text=True,
        timeout=600,
    )
    cases, counts = read_junit(report) if report.exists() else ({}, {})
    return Session(done.returncode, done.stdout, cases, counts, sorted(runs.glob("*Z-*")))


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
