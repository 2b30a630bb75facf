"""What becomes of a run's folder in the history."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from evidence.bundle import read_run
from evidence.verdict import Interval
from expected import load_devices
from reports.history import enter_run
from reports.history.entry import Entry, read_entry
from tests.reports.history.entries import HOSTILE, rows_of
from tests.suite.stored import bundle_of, store
from verdict.judge import Judged, judge_stored


def judged(run_dir: Path) -> Judged:
    return judge_stored(run_dir, load_devices())


def entry_of(run_dir: Path, **changes: Any) -> Entry:
    run = judged(run_dir)
    return read_entry(run.evidence, run.verdict, run.environment, **changes)


def test_a_run_is_entered_with_its_question_and_its_answer(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "run", restarts=0)

    run = entry_of(run_dir, release="1.0").run

    seal = hashlib.sha256((run_dir / "SHA256SUMS").read_bytes()).hexdigest()
    found = {
        "run_id": "20260101T000000Z",
        "folder": str(run_dir),
        "cell_id": "r300-1x8-fp32-bs16",
        "device": "r300",
        "topology": "1x8",
        "precision": "fp32",
        "batch_size": 16,
        "learning_rate": 0.16,
        "timing": "host",
        "card": None,
        "protocol": "full",
        "limits": "26 epochs",
        "simulated": False,
        "restarts": 0,
        "outcome": "recorded",
        "started_utc": "2026-01-01T00:00:00Z",
        "ended_utc": "",
        "command": '["torchrun"]',
        "seal_sha256": seal,
        "release_label": "1.0",
    }
    assert {name: run[name] for name in found} == found
    assert json.loads(run["reasons"])
    assert json.loads(run["circumstances"])["protocol"] == "full of at most 26 epochs"


def test_what_a_run_did_without_makes_it_a_series_of_its_own(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x8")
    bundle.run["without"] = ["boxes_only", "static_graph"]
    run_dir = bundle.write(tmp_path / "run")

    assert entry_of(run_dir).run["protocol"] == "full without boxes_only, static_graph"


def test_metrics_devices_versions_and_findings_are_entered(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x8")
    for rank in bundle.ranks:
        bundle.one("start", rank).update(serial=f"S{rank}", driver="4.0.25", versions={"torch": "1.12.1+cpu"})
    run_dir = bundle.write(tmp_path / "run")

    entry = entry_of(run_dir)

    metrics, found = {row["metric"]: row for row in entry.metrics}, judged(run_dir).verdict.shown
    assert list(metrics) == list(found)
    interval = found["p_core"].interval
    assert interval == Interval(metrics["p_core"]["interval_low"], metrics["p_core"]["interval_high"])
    for name in ("measured", "expected", "low", "verdict", "source"):
        assert metrics["map"][name] == getattr(found["map"], name)
    assert [(row["rank"], row["host"], row["serial"], row["driver"]) for row in entry.cards][:2] == [
        (0, "node0", "S0", "4.0.25"),
        (1, "node0", "S1", "4.0.25"),
    ]
    versions = {row["name"]: row["version"] for row in entry.versions}
    assert versions["torch"] == "1.12.1+cpu"
    assert versions["driver"] == "4.0.25"
    assert {"os", "driver", "card"} <= {row["item"] for row in entry.findings}


def test_the_same_run_has_the_same_identity_and_another_seal_another(tmp_path: Path) -> None:
    first, second = store(tmp_path / "a"), store(tmp_path / "b", jitter=5)

    identities = [entry_of(run_dir).run["identity"] for run_dir in (first, first, second)]

    assert identities[0] == identities[1] != identities[2]


def test_runs_without_a_seal_are_told_apart_by_their_own_file(tmp_path: Path) -> None:
    folders = [bundle_of("r300", "1x8").write(tmp_path / name) for name in "ab"]
    for number, run_dir in enumerate(folders):
        (run_dir / "SHA256SUMS").unlink()
        record = json.loads((run_dir / "run.json").read_text())
        (run_dir / "run.json").write_text(json.dumps({**record, "command": [str(number)]}))

    entries = [entry_of(run_dir) for run_dir in folders]

    assert entries[0].run["identity"] != entries[1].run["identity"]
    assert entries[0].run["seal_sha256"] == ""
    assert entries[0].run["outcome"] == "invalid"


def test_a_run_that_left_next_to_nothing_is_entered_all_the_same(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "run")
    verdict = judged(run_dir).verdict
    for path in run_dir.iterdir():
        path.unlink()
    (run_dir / "run.json").write_bytes(b'{"id": 7, "command": 3, "steps": "many", "environment": []')

    entry = read_entry(read_run(run_dir), verdict, ())

    assert entry.run["run_id"] == "run"
    assert (entry.run["started_utc"], entry.run["command"], entry.run["limits"]) == ("", "[]", "")
    assert entry.cards == entry.versions == entry.findings == ()


def test_numbers_that_no_database_holds_are_left_out(tmp_path: Path) -> None:
    run = judged(store(tmp_path / "run"))
    mem = replace(run.verdict.metrics["mem"], measured=math.nan, high=math.inf)
    metrics = {**run.verdict.metrics, "mem": mem, "of no table": mem}

    entry = read_entry(run.evidence, replace(run.verdict, metrics=metrics), ())

    rows = {row["metric"]: row for row in entry.metrics}
    assert (rows["mem"]["measured"], rows["mem"]["high"]) == (None, None)
    assert "of no table" not in rows


def test_hostile_evidence_goes_into_the_database_and_comes_back(url: str, tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x8")
    bundle.run.update(id=HOSTILE, command=["torchrun", HOSTILE])
    for rank in bundle.ranks:
        bundle.one("start", rank).update(host=HOSTILE, device_name=HOSTILE, serial=HOSTILE, driver=HOSTILE)
    run_dir = bundle.write(tmp_path / "a<b>'\udc80\n")
    run = judged(run_dir)

    enter_run(url, run, release=HOSTILE)
    enter_run(url, run)

    (run,) = rows_of(url, "runs")
    assert run["run_id"] == run["release_label"] == HOSTILE
    assert json.loads(run["command"]) == ["torchrun", HOSTILE]
    assert run["folder"] == str(run_dir)
    cards = rows_of(url, "cards")
    assert len(cards) == 8
    assert {card["host"] for card in cards} == {card["serial"] for card in cards} == {HOSTILE}
