"""Names from outside - of a host, a folder, a data set - pass through all that a session writes, and do nothing."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evidence.text import as_it_was, visible
from tests.suite.junit import Session, run_suite
from tests.suite.stored import bundle_of
from tests.support import ROOT
from tests.verdict.bundles import Bundle

EVIL = "<script>alert('x')</script>\"'&amp;|`\n\r\t\x1b[31m\x07\u202e\u2028"
"""As a file system takes it; no slash, no U+0000."""
HOST = EVIL + "\x00 ]]> --> '; DROP TABLE runs; --"
FOLDER = EVIL.replace("/", "_")


def hostile(bundle: Bundle, data: str) -> Bundle:
    """Everything that names the host, in every file, and the data set in the command that was started."""
    for rank in bundle.ranks:
        bundle.one("start", rank)["host"] = HOST
    for sample in bundle.telemetry:
        sample["host"] = HOST
    bundle.run["command"] = ["torchrun", "-m", "trainer", f"--data={data}"]
    bundle.run["environment"] = {"host": HOST, "packages": {"torch": EVIL}}
    return bundle


class Markup(HTMLParser):
    """Counts the elements of a page and keeps its texts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: dict[str, int] = {}
        self.texts: list[str] = []
        self.handlers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: Any) -> tuple[Session, Path, Path]:
    """A session that judged such a run, its folder, and the session's own."""
    folder = Path(str(tmp_path_factory.mktemp("hostile")))
    run_dir = hostile(bundle_of("r300", "1x8"), f"/data/{EVIL}").write(folder / FOLDER)
    options = ["--history", f"sqlite:///{folder / 'h.sqlite'}"]
    session = run_suite(folder, f"--replay={run_dir}", "-v", *options, f"--report={folder / 'session.html'}")
    return session, run_dir, folder


def test_the_run_is_judged_like_any_other(judged: tuple[Session, Path, Path]) -> None:
    session, _, _ = judged

    assert session.code == 0
    assert {name: case.outcome for name, case in session.by_metric.items()}["map"] == "passed"


def test_the_terminal_is_not_acted_upon(judged: tuple[Session, Path, Path]) -> None:
    session, run_dir, _ = judged

    # pytest's own first lines repeat its arguments as they are; what follows is the suite's.
    ours = session.output[session.output.index("conformance =") :]
    assert not set(ours) & {"\x1b", "\x07", "\u202e", "\u2028", "\r", "\x00"}
    assert visible(str(run_dir)) in ours


def test_the_line_that_judges_it_again_still_does(judged: tuple[Session, Path, Path]) -> None:
    session, run_dir, _ = judged
    (line,) = [line for line in session.output.splitlines() if line.startswith("again   ")]

    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line[8:].partition(' ')[2]}"], capture_output=True, check=True
    ).stdout.decode("utf-8")

    assert f"--replay={run_dir}" in words.split("\0")


def test_junit_has_the_folder_unharmed(judged: tuple[Session, Path, Path]) -> None:
    session, run_dir, _ = judged

    assert {as_it_was(case.properties["run"]) for case in session.by_metric.values()} == {str(run_dir)}


def test_pages_show_the_names_and_have_no_element_of_theirs(judged: tuple[Session, Path, Path], tmp_path: Path) -> None:
    _, run_dir, folder = judged
    plain = bundle_of("r300", "1x8").write(tmp_path / "plain")
    run_suite(tmp_path, f"--replay={plain}", f"--report={tmp_path / 'session.html'}")

    for page, harmless in (
        (run_dir / "report.html", plain / "report.html"),
        (folder / "session.html", tmp_path / "session.html"),
    ):
        found, expected = (Markup(path.read_text(encoding="utf-8")) for path in (page, harmless))
        assert found.tags["script"] == expected.tags["script"]
        assert found.handlers == []
        assert any(visible(HOST) in text for text in found.texts)
        assert any(visible(str(run_dir)) in text for text in found.texts)


def test_the_history_gives_the_names_back(judged: tuple[Session, Path, Path]) -> None:
    _, run_dir, folder = judged

    with sqlite3.connect(str(folder / "h.sqlite")) as connection:
        folders = [as_it_was(row[0]) for row in connection.execute("SELECT folder FROM runs")]
        hosts = {as_it_was(row[0]) for row in connection.execute("SELECT host FROM cards")}
        commands = [json.loads(as_it_was(row[0])) for row in connection.execute("SELECT command FROM runs")]

    assert folders == [str(run_dir)]
    assert hosts == {HOST}
    assert [command[-1] for command in commands] == [f"--data=/data/{EVIL}"]


@pytest.mark.parametrize("command", ["history", "table"])
def test_what_the_commands_print_is_harmless(judged: tuple[Session, Path, Path], command: str) -> None:
    _, run_dir, folder = judged
    words = (
        ["history", f"--history=sqlite:///{folder / 'h.sqlite'}"] if command == "history" else ["table", str(run_dir)]
    )

    done = subprocess.run(
        [sys.executable, "-m", "reports", *words], cwd=str(ROOT), capture_output=True, text=True, encoding="utf-8"
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert not set(done.stdout) & {"\x1b", "\x07", "\u202e", "\u2028", "\r", "\x00"}
    assert "<script>" not in done.stdout or command == "history"  # Markdown passes HTML on; a terminal does not
