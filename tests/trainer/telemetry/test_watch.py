"""Watches: each source by itself, its failures written once, and none of them in the others' way."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from trainer.clocks import SimulatedClock
from trainer.telemetry.base import run_tool
from trainer.telemetry.watch import Watch, stop_all


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_run_that_is_over_at_once_has_a_sample(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "t.jsonl", lambda: [{"card": 0}], interval_s=60, source="some-smi", host="a", rank=0)

    watch.start()
    watch.stop()

    first = lines(tmp_path / "t.jsonl")[0]
    assert first.pop("t_ns") > 0
    assert first == {"source": "some-smi", "host": "a", "rank": 0, "card": 0}


def test_a_failure_is_written_once_with_its_source_and_sampling_goes_on(tmp_path: Path) -> None:
    calls = threading.Semaphore(0)
    answers = [OSError("gone"), OSError("gone"), [{"card": 0}]]

    def read() -> list[dict[str, Any]]:
        calls.release()
        answer: Any = answers.pop(0) if answers else [{"card": 0}]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    watch = Watch(tmp_path / "t.jsonl", read, interval_s=0.001, source="some-smi")
    watch.start()
    for _ in range(3):
        assert calls.acquire(timeout=60)
    watch.stop()

    found = lines(tmp_path / "t.jsonl")
    assert [one["error"] for one in found if "error" in one] == ["OSError: gone"]
    assert {one["source"] for one in found} == {"some-smi"}
    assert any("card" in one for one in found)


def test_a_complaint_beside_samples_is_written_once_and_the_samples_always(tmp_path: Path) -> None:
    calls = threading.Semaphore(0)

    def read() -> list[dict[str, Any]]:
        calls.release()
        return [{"card": 0}, {"error": "a new line"}]

    watch = Watch(tmp_path / "t.jsonl", read, interval_s=0.001)
    watch.start()
    for _ in range(3):
        assert calls.acquire(timeout=60)
    watch.stop()

    found = lines(tmp_path / "t.jsonl")
    assert len([one for one in found if "error" in one]) == 1
    assert len([one for one in found if "card" in one]) >= 3


def test_a_tool_with_ever_new_complaints_does_not_fill_the_file(tmp_path: Path) -> None:
    calls, count = threading.Semaphore(0), iter(range(10_000))

    def read() -> list[dict[str, Any]]:
        calls.release()
        return [{"error": f"failure {next(count)}"}]

    watch = Watch(tmp_path / "t.jsonl", read, interval_s=0.0001)
    watch.start()
    for _ in range(40):
        assert calls.acquire(timeout=60)
    watch.stop()

    found = [one["error"] for one in lines(tmp_path / "t.jsonl")]
    assert len(found) == 21
    assert found[-1] == "failure 20; and more, which are not written"


def test_a_tool_that_hangs_is_told_and_keeps_nothing_from_the_others(tmp_path: Path, monkeypatch: Any) -> None:
    tool = tmp_path / "some_smi"
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    sampled = threading.Semaphore(0)

    def hangs() -> list[dict[str, Any]]:
        run_tool(("some_smi",), timeout_s=1.0)
        return []

    def answers() -> list[dict[str, Any]]:
        sampled.release()
        return [{"card": 0, "memory_used_gib": 1.0}]

    path = tmp_path / "t.jsonl"
    watches = [
        Watch(path, hangs, interval_s=0.01, source="some_smi"),
        Watch(path, answers, interval_s=0.01, source="driver"),
    ]
    for watch in watches:
        watch.start()
    for _ in range(5):
        assert sampled.acquire(timeout=60)
    stop_all(watches)

    found = lines(path)
    shown = str(tool) if len(str(tool)) <= 80 else f"{str(tool)[:80]}..."
    assert [(one["source"], one["error"]) for one in found if "error" in one] == [
        ("some_smi", f"DeviceError: {shown} did not answer within 1 s; try it by hand: it hangs where the driver does")
    ]
    assert len([one for one in found if one["source"] == "driver"]) >= 5


def test_a_library_that_never_returns_does_not_keep_the_run_from_its_end(tmp_path: Path, monkeypatch: Any) -> None:
    never = threading.Event()
    monkeypatch.setattr("trainer.telemetry.watch._PATIENCE_S", 0.05)

    def read() -> list[dict[str, Any]]:
        never.wait()
        return []

    watch = Watch(tmp_path / "t.jsonl", read, interval_s=1, source="nvml", rank=3)

    watch.start()
    watch.stop()
    never.set()

    (message,) = lines(tmp_path / "t.jsonl")
    assert (message["source"], message["rank"]) == ("nvml", 3)
    assert message["error"].startswith("did not answer within 0.05 s at the end")


def test_on_a_simulated_clock_samples_are_taken_when_it_gets_to_them(tmp_path: Path) -> None:
    clock = SimulatedClock()
    begun_ns = clock.now_ns()
    watch = Watch(tmp_path / "t.jsonl", lambda: [{"card": 0}], interval_s=1, clock=clock)

    watch.start()
    clock.spend(2.5e9)
    watch.stop()
    clock.spend(5e9)

    times = [line["t_ns"] - begun_ns for line in lines(tmp_path / "t.jsonl")]
    assert times == [0, 1_000_000_000, 2_000_000_000, 2_500_000_000]
