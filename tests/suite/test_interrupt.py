"""A session that is told to end leaves no rank behind, and evidence that says it was cut short."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from evidence.bundle import read_run
from tests.support import ROOT, cell_of
from verdict.judge import judge_run

pytestmark = pytest.mark.integration


def ranks_of(runs: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(runs) in word for word in process.info["cmdline"] or []) and "trainer" in process.info["cmdline"]
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_ranks_too(tmp_path: Path, shapes: Path, number: signal.Signals) -> None:
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--steps", "5000", f"--data={shapes}"]
    with (tmp_path / "output").open("wb") as output:
        session = subprocess.Popen(
            [*command, f"--runs={runs}"],
            cwd=str(ROOT),
            stdout=output,
            stderr=output,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's & ignores it
        )
    deadline = time.monotonic() + 300
    while not list(runs.glob("*/rank-0000.jsonl")):
        assert session.poll() is None, (tmp_path / "output").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)

    session.send_signal(number)
    code = session.wait(120)

    assert code != 0
    assert ranks_of(runs) == []
    (run_dir,) = runs.glob("*Z-*")
    assert json.loads((run_dir / "run.json").read_text())["boot"]["exit_code"] is None
    verdict = judge_run(read_run(run_dir), cell_of("cpu", "1x1"))
    assert verdict.outcome == "invalid"
    assert "the run was aborted: the session was interrupted by" in verdict.reasons[0]
