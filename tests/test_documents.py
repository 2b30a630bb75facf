"""Commands that the documents print are run, on stored runs and simulated devices; those of accelerators collected."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from fixtures.commands import overview
from reports.history import default_url
from reports.history.database import open_history
from tests.reports.history.entries import an_entry
from tests.suite.junit import run_suite
from tests.suite.stored import bundle_of, site_file
from tests.support import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = {
    "conformance sign": "tests/evidence/test_signature.py",
    "pytest --replay=runs/<run> --require-signature": "tests/suite/test_replay.py",
    "pytest --replay=runs/<run> --data=DIR": "tests/fixtures/test_scoring.py",
    "pytest --replay=runs/<run> --benchmark-storage": "tests/suite/test_benchmarks.py",
    "pytest suite/test_steps.py --replay=runs/<run> --benchmark-compare": "tests/suite/test_benchmarks.py",
    "python -m reports compare 4.0.25": "tests/reports/test_compare_command.py",
    "python -m expected import README.md": "tests/expected/test_main.py",
    "python -m expected check README.md": "tests/expected/test_main.py",
    "pytest -m virtual --each-card": "tests/suite/test_each_card.py",
    "pytest -m virtual --topo 1x2 --each-host": "tests/suite/test_each_host.py",
    "pytest -m virtual --topo 1x8 --steps 200 --scenario slow.toml --gate": "tests/suite/test_watching.py",  # at 1x2
}
"""Commands that need more than stored runs, by how they begin, with the test that runs them."""
SLOW_DEVICE = re.sub(
    r"^ {4}",
    "",
    re.search(r"    seed = 1\n.*?\n(?=\S)", (ROOT / "docs/virtual.md").read_text(), re.DOTALL)[0],
    flags=re.M,
)
"""The scenario that docs/virtual.md prints: rank 1 is slow."""
WRITTEN = ("--out", "--page", "--summary", "--openmetrics", "--benchmark-storage", "--benchmark-json", "--junitxml")
"""Options whose files go to the test's own folder."""
PROBED = ("--numerics=quick", "--links=quick")  # which the sessions of tests leave out unless told
SLOW = r"(?:python -m )?pytest (?:benchmarks|tests)/|python -m (?:benchmarks|tests)\."
"""Of the project's own tests and benchmarks."""


def commands(page: Path) -> Iterator[str]:
    """Yield the commands of a page: lines of its code blocks that begin with a program of the project."""
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    for line in re.findall(r"^ {4,}((?:pytest|conformance|python -m) [\w<-].*)$", text, re.MULTILINE):
        yield re.sub(r" \.\.\.(?= |$)|\s+#.*$", "", line).strip()


FOUND = sorted({command for page in PAGES for command in commands(page)})
OF_STORED = [one for one in FOUND if "--replay" in one or (not one.startswith("pytest") and not re.match(SLOW, one))]
SIMULATED = [one for one in FOUND if one.startswith("pytest -m virtual")]
OF_ACCELERATORS = [one for one in FOUND if one.startswith("pytest -") and one not in (*OF_STORED, *SIMULATED)]


def of_this_test(found: list[str]) -> list[str]:
    return [one for one in found if not one.startswith(tuple(ELSEWHERE))]


def words_of(command: str, folder: Path) -> list[str]:
    """Return the command's words after its program, with a stored run for each that it names, and files in `folder`."""
    words: list[str] = []
    for number, word in enumerate(shlex.split(command)):
        option, equals, value = word.rpartition("=")
        run = re.fullmatch(r"runs/(?:<?(\dx\d)>?|<\w+>|[AB]|\d{8}T\S+)", value)
        if run:
            bundle = bundle_of("r300", run[1] or "1x8")
            bundle.run["id"] = f"run-{number}"
            value = str(bundle.write(folder / f"run-{number}"))
        elif (words and words[-1] in WRITTEN) or option in WRITTEN:
            value = str(folder / value.replace("/", "-"))
        elif words and words[-1] == "--baseline":
            value = str(site_file(folder / value, {}))
        elif words and words[-1] == "--scenario":
            (folder / value).write_text(SLOW_DEVICE)
            value = str(folder / value)
        words.append(f"{option}{equals}{value}")
    return words


@pytest.mark.parametrize("command", of_this_test(OF_STORED))
def test_a_command_on_stored_runs_does_what_it_says(command: str, tmp_path: Path) -> None:
    program, *words = words_of(command, tmp_path)
    if program == "pytest":
        session = run_suite(tmp_path, *words)
        assert session.cases, session.output  # whether the stored runs pass is no matter of the page
        return
    with open_history(default_url(tmp_path / "runs"), create=True) as history:
        history.enter([an_entry(1), an_entry(2)])
    start = [sys.executable] if program == "python" else [sys.executable, "-m", "accelerator_conformance"]

    done = subprocess.run(
        [*start, *words],
        cwd=str(tmp_path),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "usage: " not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1), done.stderr


@pytest.mark.integration
@pytest.mark.parametrize("command", of_this_test(SIMULATED))
def test_a_command_on_simulated_devices_is_judged_as_the_page_says(command: str, tmp_path: Path) -> None:
    session = run_suite(tmp_path, *words_of(command, tmp_path)[1:])

    outcome = session.by_metric["p_core"].outcome
    assert outcome == ("failure" if "--scenario" in command else "passed"), session.output
    assert ("rank 1" in session.output) == ("--scenario" in command)


@pytest.mark.parametrize("command", of_this_test(OF_ACCELERATORS))
def test_a_command_that_needs_an_accelerator_asks_questions(command: str, tmp_path: Path) -> None:
    session = run_suite(tmp_path, *words_of(command, tmp_path)[1:], *PROBED, "--collect-only", "-q")

    # The gate says that nothing was run, with code 1; a command line that cannot be is 4.
    assert session.code == ("--gate" in command), session.output
    assert "suite/test_" in session.output


def test_a_gate_of_a_device_whose_table_leaves_rates_blank_names_a_baseline() -> None:
    shown = [*(page.read_text(encoding="utf-8") for page in PAGES), overview()]
    gates = [line for text in shown for line in re.findall(r"^.*-m r300 .*--gate.*$", text, re.MULTILINE)]

    assert len(gates) > len(PAGES) // 4
    assert [line for line in gates if "--baseline" not in line and "..." not in line] == []


@pytest.mark.parametrize("command", [one for one in FOUND if re.match(SLOW, one)])
def test_a_test_or_benchmark_that_is_named_is_there(command: str) -> None:
    module = re.search(r"-m ((?:benchmarks|tests)\.\S+)", command)

    assert module is None or importlib.util.find_spec(module[1])
    assert [path for path in re.findall(r"(?:benchmarks|tests)/\S+", command) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_headings_that_are_linked_to_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = []
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", text):
        file = page.parent / target if target else page
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings]
        if not file.exists() or (anchor and anchor not in slugs):
            wrong.append(f"{target}#{anchor}")

    assert wrong == []


def test_commands_that_are_run_elsewhere_are_printed_and_their_tests_are_there() -> None:
    assert [one for one in ELSEWHERE if not any(command.startswith(one) for command in FOUND)] == []
    assert [one for one in ELSEWHERE.values() if not (ROOT / one).exists()] == []
