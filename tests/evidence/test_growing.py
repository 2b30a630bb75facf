"""A run that goes on is read as it grows: only what is new, only whole lines, and anew after a restart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evidence.bundle import Evidence, read_run
from evidence.errors import EvidenceError
from evidence.growing import GrowingRun
from tests.support import ROOT
from tests.verdict.beginnings import beginning

WHOLE = ROOT / "tests" / "stored" / "virtual-1x2"


def assert_same(found: Evidence, expected: Evidence) -> None:
    assert found.problems == ()
    assert [rank.seen for rank in found.ranks] == [rank.seen for rank in expected.ranks]
    assert [rank.end for rank in found.ranks] == [rank.end for rank in expected.ranks]
    for one, other in zip(found.ranks, expected.ranks):
        for name, column in vars(one.windows).items():
            np.testing.assert_array_equal(column, getattr(other.windows, name))
    assert [one.card for one in found.telemetry.cards] == [one.card for one in expected.telemetry.cards]
    for mine, its in zip(found.telemetry.cards, expected.telemetry.cards):
        np.testing.assert_array_equal(mine.used_gib, its.used_gib)


def test_what_is_read_in_many_parts_is_what_is_read_at_once(tmp_path: Path) -> None:
    run_dir = beginning(WHOLE, tmp_path / "run", 0.0)
    growing = GrowingRun(run_dir)

    for part in range(1, 16):
        beginning(WHOLE, run_dir, part / 15)
        found = growing.read()

    assert_same(found, read_run(WHOLE))


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    run_dir = beginning(WHOLE, tmp_path / "run", 0.0)
    path, lines = run_dir / "rank-0000.jsonl", (WHOLE / "rank-0000.jsonl").read_bytes().splitlines(keepends=True)
    growing = GrowingRun(run_dir)
    path.write_bytes(lines[0] + lines[1][:20])
    before = growing.read()

    path.write_bytes(lines[0] + lines[1])
    after = growing.read()

    assert (sum(before.ranks[0].seen.values()), sum(after.ranks[0].seen.values())) == (1, 2)
    assert before.problems == after.problems == ()


def test_after_a_restart_the_run_is_read_anew(tmp_path: Path) -> None:
    run_dir = beginning(WHOLE, tmp_path / "run", 0.8)
    growing = GrowingRun(run_dir)
    before = growing.read()
    for path in run_dir.glob("*.jsonl"):
        path.rename(run_dir / f"attempt-0.{path.name}")

    between = growing.read()
    beginning(WHOLE, run_dir, 0.6)
    after = growing.read()

    assert between.ranks == ()
    assert after.problems == ()
    assert 0 < after.ranks[0].windows.steps < before.ranks[0].windows.steps


def test_damage_is_reported_with_file_and_line(tmp_path: Path) -> None:
    run_dir = beginning(WHOLE, tmp_path / "run", 0.5)
    growing = GrowingRun(run_dir)
    growing.read()
    content = (run_dir / "rank-0001.jsonl").read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    (run_dir / "rank-0001.jsonl").write_bytes(whole + b"{}\n")

    found = growing.read()

    assert found.problems == (f"rank-0001.jsonl line {whole.count(bytes([10])) + 1}: 'event' is missing",)


def test_the_run_has_ended_when_run_json_says_so(tmp_path: Path) -> None:
    run_dir = beginning(WHOLE, tmp_path / "run", 1.0)
    growing = GrowingRun(run_dir)
    before = growing.read().run
    record = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps({**record, "boot": {"exit_code": 0}, "ended_utc": "2026-01-01"}))

    after = growing.read().run

    assert (before.has_ended, after.has_ended) == (False, True)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="give the folder of a run"):
        GrowingRun(tmp_path).read()
