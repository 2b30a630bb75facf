"""The event log: one strict JSON object a line, on disk as soon as it is written."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

import evidence.rank_file as rank_file_module
from evidence.events.training import EpochBegin, EvalBegin, EvalEnd
from evidence.rank_file import HEARTBEAT_S, EventLog


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_event_can_be_read_before_the_log_is_closed(tmp_path: Path) -> None:
    log = EventLog(tmp_path, 3)

    log.write(EpochBegin(1, 32))

    (event,) = lines(tmp_path / "rank-0003.jsonl")
    assert (event["event"], event["epoch"], event["steps"]) == ("epoch_begin", 1, 32)
    assert isinstance(event["t_ns"], int)
    log.close()


def test_a_time_that_was_read_earlier_is_kept(tmp_path: Path) -> None:
    log = EventLog(tmp_path, 0)
    log.write(EvalBegin(0), 5)
    log.close()

    assert lines(log.path)[0]["t_ns"] == 5


def test_numbers_that_json_cannot_hold_are_spelled_out(tmp_path: Path) -> None:
    log = EventLog(tmp_path, 0)
    log.write(EvalEnd(0, 1, map=float("nan"), stats=(1.5, float("inf"), float("-inf"))))
    log.close()

    (event,) = lines(log.path)
    assert event["map"] == "NaN"
    assert event["stats"] == [1.5, "Infinity", "-Infinity"]


def test_two_processes_cannot_be_the_same_rank(tmp_path: Path) -> None:
    EventLog(tmp_path, 0).close()

    with pytest.raises(FileExistsError):
        EventLog(tmp_path, 0)


def test_a_heartbeat_is_written_only_where_nothing_else_was_for_a_while(tmp_path: Path) -> None:
    now_s = [0.0]
    log = EventLog(tmp_path, 0, clock=lambda: now_s[0])
    log.write(EvalBegin(0))
    for now in (1.0, HEARTBEAT_S, HEARTBEAT_S + 1.0, 2 * HEARTBEAT_S - 0.1, 2 * HEARTBEAT_S):
        now_s[0] = now
        log.heartbeat(phase="training", done=int(now))

    found = [json.loads(line) for line in log.path.read_text().splitlines()]

    assert [(event["event"], event.get("done")) for event in found] == [
        ("eval_begin", None),
        ("progress", int(HEARTBEAT_S)),
        ("progress", int(2 * HEARTBEAT_S)),
    ]


def test_a_rank_that_waits_long_on_the_host_is_seen_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_file_module, "HEARTBEAT_S", 0.01)
    log = EventLog(tmp_path, 0)

    with log.beating("probes"):
        while b'"phase":"probes"' not in log.path.read_bytes():
            pass

    before = log.path.read_bytes()
    assert not [one for one in threading.enumerate() if one.name == "heartbeat"]
    assert log.path.read_bytes() == before
