"""Reading one rank's events."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evidence.events.rank import RankEvidence
from evidence.files import Problems
from evidence.rank_file import read_rank
from tests.verdict.bundles import Plan, build, lines


def read(events: list[dict[str, Any]], folder: Path, rank: int = 0) -> tuple[RankEvidence, tuple[str, ...]]:
    path = folder / f"rank-{rank:04d}.jsonl"
    path.write_text(lines(events))
    problems = Problems(path.name)
    return read_rank(path.read_bytes(), rank, problems), problems.all()


@pytest.fixture
def events() -> list[dict[str, Any]]:
    return build(Plan()).ranks[0]


def pick(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(event for event in events if event["event"] == name)


def test_a_whole_file_is_read_without_problems(events: list[dict[str, Any]], tmp_path: Path) -> None:
    rank, problems = read(events, tmp_path)

    assert problems == ()
    assert rank.start.host == "node0"
    assert rank.data[0].val_images == 128
    assert [one.epoch for one in rank.evaluations] == [-1, 0, 1]
    assert [one.map for one in rank.evaluations] == [0.0, 0.21, 0.38]
    assert [(one.epoch, one.planned_steps, one.steps) for one in rank.epochs] == [(0, 120, 120), (1, 120, 120)]
    assert rank.train_begin_ns == pick(events, "train_begin")["t_ns"]
    assert rank.train_end.ledger["compute_ns"] == 240 * 40_000_000
    assert rank.memories[0].resident_gib == 1.5
    assert rank.end.reason == "target"
    assert rank.failures == ()
    assert rank.seen["window"] == 24


ITEM = {"name": "boxes_only", "what": "w", "published": "p", "allowed": "declared", "proof": "t", "on": True, "why": ""}


def test_the_optimization_ledger_is_read(events: list[dict[str, Any]], tmp_path: Path) -> None:
    off = {**ITEM, "name": "static_graph", "on": False, "why": "there is one rank", "of a later version": 1}
    events.insert(1, {"event": "optimizations", "t_ns": events[0]["t_ns"], "items": [ITEM, off]})

    rank, problems = read(events, tmp_path)

    assert problems == ()
    assert [(one.name, one.on, one.why) for one in rank.optimizations] == [
        ("boxes_only", True, ""),
        ("static_graph", False, "there is one rank"),
    ]


@pytest.mark.parametrize("items", [None, {}, [1], [{**ITEM, "on": 1}], [{**ITEM, "name": None}]])
def test_a_ledger_that_is_none_is_a_problem(items: Any, events: list[dict[str, Any]], tmp_path: Path) -> None:
    events.insert(1, {"event": "optimizations", "t_ns": events[0]["t_ns"], "items": items})

    rank, (problem,) = read(events, tmp_path)

    assert rank.optimizations == ()
    assert "optimizations: " in problem
    assert "items" in problem


def test_windows_are_columns_of_whole_and_real_numbers(events: list[dict[str, Any]], tmp_path: Path) -> None:
    windows = read(events, tmp_path)[0].windows

    assert windows.steps == 240
    assert windows.step.tolist() == list(range(0, 240, 10))
    assert windows.size.tolist() == [10] * 24
    assert windows.images.dtype == windows.wall_ns.dtype == np.int64
    assert windows.loss.dtype == windows.lr.dtype == np.float64
    assert windows.warmup.dtype == np.bool_
    assert windows.loss[:2].tolist() == [3.0, 2.5]
    with pytest.raises(ValueError, match="read-only"):
        windows.loss[0] = 1.0


def test_warmup_is_left_out_of_what_is_measured(events: list[dict[str, Any]], tmp_path: Path) -> None:
    pick(events, "window")["warmup"] = True

    measured = read(events, tmp_path)[0].windows.measured

    assert measured.steps == 230
    assert measured.step[0] == 10
    assert measured.loss[0] == 2 + 1 / 11


def test_losses_that_are_not_finite_are_read_from_their_names(events: list[dict[str, Any]], tmp_path: Path) -> None:
    pick(events, "window")["loss"][:4] = ["NaN", "Infinity", "-Infinity", 3]

    rank, problems = read(events, tmp_path)

    assert problems == ()
    assert math.isnan(rank.windows.loss[0])
    assert rank.windows.loss[1:4].tolist() == [math.inf, -math.inf, 3.0]


def test_unknown_events_and_fields_are_ignored(events: list[dict[str, Any]], tmp_path: Path) -> None:
    events.insert(1, {"event": "weather", "t_ns": events[0]["t_ns"], "sun": True})
    events[0]["colour"] = "blue"

    assert read(events, tmp_path)[1] == ()


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ("start", {"host": 5}),
        ("start", {"simulated": 0}),
        ("start", {"t_ns": "soon"}),
        ("data", {"train": []}),
        ("eval_begin", {"epoch": None}),
        ("eval_end", {"map": "high"}),
        ("eval_end", {"scorer": 5}),
        ("eval_end", {"checked_map": True}),
        ("eval_end", {"check_difference": "0"}),
        ("epoch_begin", {"steps": "x"}),
        ("epoch_end", {"images": 0.5}),
        ("window", {"images": [1, True]}),
        ("window", {"compute_ns": [2**70] * 10}),
        ("window", {"compute_ns": 3}),
        ("window", {"loss": "NaN"}),
        ("window", {"loss": 3}),
        ("window", {"lr": True}),
        ("window", {"lr": "NaN"}),
        ("window", {"warmup": "no"}),
        ("memory", {"resident_gib": "2"}),
        ("end", {"reason": None}),
        ("end", {"event": 5}),
    ],
)
def test_a_wrong_field_is_a_problem_with_its_line_and_key(
    event: str, change: dict[str, Any], events: list[dict[str, Any]], tmp_path: Path
) -> None:
    changed = pick(events, event)
    line = events.index(changed) + 1
    changed.update(change)

    problems = read(events, tmp_path)[1]

    assert problems[0].startswith(f"rank-0000.jsonl line {line}: ")
    assert all(f"{key!r} is " in problems[0] for key in change)


@pytest.mark.parametrize(
    ("event", "change", "words"),
    [
        ("start", {"schema": 1}, "start: schema 1, expected 2"),
        ("start", {"rank": 1}, "start: the file of rank 0 was written by rank 1"),
        ("data", {"train": {}}, "data: in 'train': 'images' is missing"),
        ("data", {"val": {"images": -0.5}}, "data: in 'val': 'images' is -0.5, expected a whole number"),
        ("eval_end", {"epoch": 5}, "eval_end: the evaluation of epoch 6 ends and has not begun"),
        ("window", {"loss": [1.0, "bad"]}, "window: 'loss' is [1.0, 'bad'], expected a list of numbers or NaN"),
        ("window", {"loss": [1.0]}, "window: expected one entry a step in every list and at least one, found"),
        ("train_end", {"ledger": {}}, "train_end: in 'ledger': 'compute_ns' is missing"),
    ],
)
def test_what_is_wrong_with_an_event_is_said(
    event: str, change: dict[str, Any], words: str, events: list[dict[str, Any]], tmp_path: Path
) -> None:
    changed = pick(events, event)
    line = events.index(changed) + 1
    changed.update(change)

    assert read(events, tmp_path)[1][0].startswith(f"rank-0000.jsonl line {line}: {words}")


def test_a_window_without_steps_is_a_problem(events: list[dict[str, Any]], tmp_path: Path) -> None:
    window = pick(events, "window")
    for name in ("images", "compute_ns", "loss"):
        window[name] = []

    assert "at least one, found images 0" in read(events, tmp_path)[1][0]


@pytest.mark.parametrize("name", ["event", "t_ns"])
def test_every_line_needs_its_name_and_time(name: str, events: list[dict[str, Any]], tmp_path: Path) -> None:
    del events[5][name]

    assert f"{name!r} is missing" in read(events, tmp_path)[1][0]


def test_an_event_before_the_start_is_a_problem(events: list[dict[str, Any]], tmp_path: Path) -> None:
    events[0], events[1] = events[1], events[0]
    events[0]["t_ns"] = events[1]["t_ns"]

    assert "line 1: data: 'data' comes before 'start'" in read(events, tmp_path)[1][0]


def test_an_event_after_the_end_is_a_problem(events: list[dict[str, Any]], tmp_path: Path) -> None:
    events.append(dict(pick(events, "memory"), t_ns=events[-1]["t_ns"]))

    assert "memory: 'memory' comes after 'end'" in read(events, tmp_path)[1][0]


def test_a_sign_of_life_after_the_end_is_none(events: list[dict[str, Any]], tmp_path: Path) -> None:
    events.append({"event": "progress", "t_ns": events[-1]["t_ns"]})

    assert read(events, tmp_path)[1] == ()


@pytest.mark.parametrize("name", ["start", "clock_test", "train_begin", "train_end", "end"])
def test_what_happens_once_is_a_problem_the_second_time(
    name: str, events: list[dict[str, Any]], tmp_path: Path
) -> None:
    event = pick(events, name)
    events.insert(events.index(event), dict(event))

    assert f"{name}: {name!r} comes a second time" in read(events, tmp_path)[1][0]


def test_a_clock_that_goes_backwards_is_a_problem_even_in_an_unknown_event(
    events: list[dict[str, Any]], tmp_path: Path
) -> None:
    pick(events, "progress")["t_ns"] -= 1

    assert "progress: the clock goes backwards" in read(events, tmp_path)[1][0]


def test_who_scored_an_evaluation_is_read(events: list[dict[str, Any]], tmp_path: Path) -> None:
    last = [event for event in events if event["event"] == "eval_end"][-1]
    last.update(scorer="faster-coco-eval 1.8.0", checked_map=0.25, check_difference="NaN")

    first, *_, found = read(events, tmp_path)[0].evaluations

    assert (found.scorer, found.checked_map) == ("faster-coco-eval 1.8.0", 0.25)
    assert str(found.check_difference) == "nan"
    assert (first.scorer, first.checked_map, first.check_difference) == (None, None, None)


def test_an_evaluation_that_does_not_end_is_a_problem(events: list[dict[str, Any]], tmp_path: Path) -> None:
    ends = [event for event in events if event["event"] == "eval_end"]
    events.remove(ends[-1])

    assert read(events, tmp_path)[1] == ("rank-0000.jsonl: the evaluation of epoch 2 began and did not end",)


def test_an_evaluation_within_another_is_a_problem(events: list[dict[str, Any]], tmp_path: Path) -> None:
    ends = [event for event in events if event["event"] == "eval_end"]
    events.remove(ends[0])

    assert (
        "the evaluation of epoch 1 begins while the evaluation before training is still open"
        in read(events, tmp_path)[1][0]
    )


def test_a_failure_is_read(events: list[dict[str, Any]], tmp_path: Path) -> None:
    events[-1] = {"event": "failure", "t_ns": events[-1]["t_ns"], "kind": "data", "message": "no such image"}

    rank, problems = read(events, tmp_path)

    assert problems == ()
    assert [(one.kind, one.message) for one in rank.failures] == [("data", "no such image")]
    assert rank.end is None


def test_an_epoch_that_did_not_begin_has_no_plan(events: list[dict[str, Any]], tmp_path: Path) -> None:
    events.remove(pick(events, "epoch_begin"))

    assert read(events, tmp_path)[0].epochs[0].planned_steps is None


def test_an_empty_file_has_no_steps(tmp_path: Path) -> None:
    rank, problems = read([], tmp_path)

    assert problems == ()
    assert rank.windows.steps == 0
    assert rank.windows.measured.steps == 0
    assert rank.start is None


def test_lines_are_plain_json_so_that_the_tests_write_what_a_trainer_writes(events: list[dict[str, Any]]) -> None:
    assert [json.loads(line) for line in lines(events).splitlines()] == events


def test_what_shows_that_the_rank_trained_is_read(events: list[dict[str, Any]], tmp_path: Path) -> None:
    first = pick(events, "window")
    first.update(skipped=[0, 3], loss_scale=512.0, gradient_norm="Infinity")

    rank, problems = read(events, tmp_path)

    assert problems == ()
    assert rank.shows_work
    assert [one.steps for one in rank.parameters] == [0, 120, 240, 240]
    assert [(one.epoch, one.steps, one.images) for one in rank.passes] == [(0, 120, 463), (1, 120, 463)]
    assert [(one.images_unused, one.from_step) for one in rank.epochs] == [(0, None)] * 2
    windows = rank.windows
    assert windows.trained[:5].tolist() == [0, 4, 4, 0, 4]
    assert windows.images[:5].tolist() == [4] * 5
    assert windows.gradient_norm[:2].tolist() == [math.inf, 1 + 1 / 11]
    assert windows.loss_scale[0] == 512.0
    assert math.isnan(windows.loss_scale[1])
    assert windows.backward_steps.tolist() == [10] * 24
    assert windows.moved.tolist() == [9] * 24
    assert len(windows.select(windows.epoch == 1).trained) == 120


def test_windows_of_schema_2_have_no_gradients(events: list[dict[str, Any]], tmp_path: Path) -> None:
    for event in events:
        for name in ("backward_steps", "moved", "gradient_norm", "skipped", "loss_scale"):
            if event["event"] == "window":
                event.pop(name)
    events[0]["schema"] = 2

    rank, problems = read(events, tmp_path)

    assert problems == ()
    assert not rank.shows_work
    assert set(rank.windows.backward_steps.tolist()) == set(rank.windows.moved.tolist()) == {-1}
    assert np.isnan(rank.windows.gradient_norm).all()
    assert rank.windows.trained.tolist() == rank.windows.images.tolist()


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"skipped": [10]}, "'skipped' has 10, expected the positions of steps, 0 to 9"),
        ({"skipped": [-1]}, "'skipped' has -1"),
        ({"skipped": [0.5]}, "'skipped' is [0.5], expected"),
        ({"backward_steps": "ten"}, "'backward_steps' is 'ten', expected a whole number"),
        ({"gradient_norm": []}, "'gradient_norm' is [], expected a finite number"),
    ],
)
def test_damage_in_what_shows_the_training_is_named(
    facts: dict[str, Any], says: str, events: list[dict[str, Any]], tmp_path: Path
) -> None:
    pick(events, "window").update(facts)

    _, problems = read(events, tmp_path)

    assert len(problems) == 1
    assert f"window: {says}" in problems[0]
