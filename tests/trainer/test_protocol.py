"""What a protocol does beside training: workers load the next epoch's first batches while the model is evaluated."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from evidence.events.training import EpochBegin, EvalBegin
from evidence.rank_file import EventLog
from tests.trainer.small import small_settings
from trainer.data.sampler import EpochBatches
from trainer.devices import load_backend
from trainer.loop.protocol import Protocol
from trainer.loop.session import _prepare
from trainer.ranks import HostGroup, Ranks


def course_of(settings: Any, monkeypatch: Any) -> list[Any]:
    """Run the protocol; return in which order epochs were asked for, evaluated and begun."""
    course: list[Any] = []
    set_epoch, write = EpochBatches.set_epoch, EventLog.write

    def noting_epochs(self: EpochBatches, epoch: int, first: int = 0) -> None:
        course.append(("asked", epoch))
        set_epoch(self, epoch, first)

    def noting_events(self: EventLog, event: Any, t_ns: int | None = None) -> None:
        if isinstance(event, (EvalBegin, EpochBegin)):
            course.append((event.event, event.epoch))
        write(self, event, t_ns)

    monkeypatch.setattr(EpochBatches, "set_epoch", noting_epochs)
    monkeypatch.setattr(EventLog, "write", noting_events)
    backend, ranks = load_backend("cpu"), Ranks(0, 0, 1, 1)
    threads = torch.get_num_threads()
    backend.open(0, 1)
    torch.set_num_threads(1)
    protocol: Protocol = _prepare(settings, ranks, backend, EventLog(settings.run_dir, 0), HostGroup(ranks))
    try:
        protocol.run()
    finally:
        torch.set_num_threads(threads)
    return course


def test_an_epochs_batches_are_asked_for_before_the_evaluation_before_it(
    shapes: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", epochs=2, workers=1, target_map=1.0)

    assert course_of(settings, monkeypatch) == [
        ("asked", 0),
        ("eval_begin", -1),
        ("epoch_begin", 0),
        ("asked", 1),
        ("eval_begin", 0),
        ("epoch_begin", 1),
        ("eval_begin", 1),
    ]


@pytest.mark.parametrize("changes", [{"workers": 0}, {"workers": 1, "without": ("batches_ahead",)}])
def test_nothing_is_asked_for_ahead_where_batches_are_not_taken_ahead(
    shapes: Path, tmp_path: Path, monkeypatch: Any, changes: dict[str, Any]
) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", epochs=2, target_map=1.0, **changes)

    assert course_of(settings, monkeypatch) == [
        ("eval_begin", -1),
        ("epoch_begin", 0),
        ("asked", 0),
        ("eval_begin", 0),
        ("epoch_begin", 1),
        ("asked", 1),
        ("eval_begin", 1),
    ]


def test_batches_of_an_epoch_that_is_not_trained_any_more_leave_no_thread(
    shapes: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", epochs=2, workers=1, target_map=0.0)

    course = course_of(settings, monkeypatch)

    assert course[-2:] == [("asked", 1), ("eval_begin", 0)]
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("changes", "checked"),
    [
        ({"epochs": 2, "target_map": 1.0}, [1]),
        ({"epochs": 2, "target_map": 0.0}, [0]),
        ({"protocol": "epoch", "target_map": 0.0}, []),
        ({"epochs": 2, "target_map": 1.0, "without": ("fast_scoring",)}, []),
    ],
    ids=["last epoch", "target", "no map wanted", "pycocotools"],
)
def test_pycocotools_checks_the_evaluation_that_a_full_run_ends_with(
    shapes: Path, tmp_path: Path, monkeypatch: Any, changes: dict[str, Any], checked: list[int]
) -> None:
    course_of(small_settings(shapes, tmp_path, model="fasterrcnn_tiny", **changes), monkeypatch)

    events = [json.loads(line) for line in (tmp_path / "rank-0000.jsonl").read_text().splitlines()]

    ends = [event for event in events if event["event"] == "eval_end"]
    assert [event["epoch"] for event in ends if event["check_difference"] is not None] == checked
    assert all(event["check_difference"] <= 1e-12 for event in ends if event["epoch"] in checked)
    assert all(event["scorer"] for event in ends)
