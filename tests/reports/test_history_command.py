"""`python -m reports history`: a table of what was entered, and entering more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports.__main__ import main
from reports.history import default_url
from reports.history.database import open_history
from tests.reports.history.entries import HOSTILE, an_entry
from tests.suite.stored import bundle_of, store


def history_of(folder: Path, *entries: Any) -> list[str]:
    with open_history(default_url(folder), create=True) as history:
        history.enter(entries)
    return ["history", "--runs", str(folder)]


def a_run(folder: Path, name: str, **facts: Any) -> str:
    bundle = bundle_of("r300", "1x8")
    bundle.run.update(id=name, **facts)
    return str(bundle.write(folder / name))


def test_runs_stand_below_each_other_with_what_was_measured(tmp_path: Path, capsys: Any) -> None:
    values = {"p_core": 199.5, "mem": 16.0}
    words = history_of(
        tmp_path, an_entry(1, values=values, release_label="1.0"), an_entry(2, simulated=True, restarts=1)
    )

    assert main(words) == 0

    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == [
        *("number", "started", "(UTC)", "cell", "protocol", "release", "outcome", "p_core", "mem", "run")
    ]
    assert "full (simulated), restarted 1x" in first
    assert first.split()[-2:] == ["-", "run-2"]
    assert "2026-01-01 00:01:00   r300-1x8-fp32-bs16   full" in second
    assert "1.0       pass      199.5 images/s   16.00 images/s   run-1" in second


def test_runs_are_entered_from_their_folders_and_listed(tmp_path: Path, capsys: Any) -> None:
    folders = [a_run(tmp_path, name, started_utc=f"2026-01-0{name}T00:00:00Z") for name in "12"]

    assert main(["history", "--runs", str(tmp_path), "--release", "1.0", "--add", *folders]) == 0

    told, _, *lines = capsys.readouterr().out.splitlines()
    assert told == f"entered 2 runs in {tmp_path}/history.sqlite"
    assert [line.split()[-1] for line in lines] == ["run", "2", "1"]
    assert all("1.0       recorded" in line for line in lines[1:])


def test_a_verdict_that_was_written_counts_unless_the_evidence_has_changed_since(tmp_path: Path, capsys: Any) -> None:
    from evidence.bundle import read_run
    from evidence.verdict import write_verdict
    from expected import load_devices
    from verdict.judge import judge_run
    from verdict.lookup import find_cell

    run_dir = store(tmp_path / "run")
    evidence = read_run(run_dir)
    device, cell = find_cell(evidence, load_devices())
    path = write_verdict(run_dir, judge_run(evidence, cell, backend=device.backend))
    record = json.loads(path.read_text())
    record["outcome"] = record["metrics"]["map"]["verdict"] = "fail"
    path.write_text(json.dumps(record))

    main(["history", "--runs", str(tmp_path), "--add", str(run_dir)])
    kept = capsys.readouterr().out
    (run_dir / "rank-0000.jsonl").write_text("")
    main(["history", "--runs", str(tmp_path), "--add", str(run_dir)])
    changed = capsys.readouterr().out

    assert "   fail   " in kept
    assert "   invalid   " in changed


def test_no_run_of_a_kind_is_said_so(tmp_path: Path, capsys: Any) -> None:
    words = history_of(tmp_path, an_entry(1))

    assert main([*words, "--device", "a100"]) == 0

    assert capsys.readouterr().out == "no run of this kind was entered yet\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["history", "--runs", "nowhere"], "found no history"),
        (["history", "--history", "postgresql://u:hunter2@127.0.0.1:1/x"], "Check that the server runs"),
        (["history", "--history", "sqlite:///h.sqlite", "--add", "nowhere"], "found no such folder"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(words: list[str], said: str, capsys: Any) -> None:
    assert main(words) == 2

    told = capsys.readouterr().err
    assert said in told
    assert "hunter2" not in told


@pytest.mark.parametrize("count", ["0", "-1", "many", "1" * 20])
def test_a_limit_is_a_count(count: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["history", "--limit", count])

    assert "expected a whole number from 1" in capsys.readouterr().err


def test_hostile_text_stays_on_its_line_and_cannot_reach_the_terminal(tmp_path: Path, capsys: Any) -> None:
    words = history_of(tmp_path, an_entry(1, words=HOSTILE, cell_id=HOSTILE, release_label=HOSTILE))

    assert main(words) == 0

    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out
    assert "\\x0a\\x0d\\x09\\x00\\x1b[31m" in out
    assert out.encode("utf-8")
