"""A run that was broken off goes on as if nothing had happened: its losses are an unbroken run's, to the last bit."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.resuming import events, finish, kill_at, losses, named, next_attempt, run
from tests.trainer.small import small_settings
from trainer.devices import load_backend
from trainer.loop.checkpoint import Checkpoints, Position, resume, snapshot
from trainer.loop.trainee import Trainee, build_optimizer
from trainer.model.networks import build_model
from trainer.ranks import HostGroup, Ranks
from trainer.settings import Settings


def settings_of(shapes: Path, run_dir: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {"model": "fasterrcnn_tiny", "epochs": 3, "target_map": 1.0, "window": 2, "workers": 1}
    return small_settings(shapes, run_dir, **{**values, **changes})


def rank_files(run_dir: Path, ranks: int) -> list[Path]:
    return [run_dir / f"rank-{rank:04d}.jsonl" for rank in range(ranks)]


@pytest.mark.integration
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_that_was_killed_twice_has_the_losses_of_an_unbroken_one(
    shapes: Path, tmp_path: Path, ranks: int
) -> None:
    chance = random.Random(f"kill {ranks}")
    whole = settings_of(shapes, tmp_path / "whole")
    broken = settings_of(shapes, tmp_path / "broken", checkpoint_steps=3)

    finish(whole, ranks)
    steps = named(rank_files(whole.run_dir, ranks)[0], "epoch_begin")[0]["steps"]
    kill_at(broken, ranks, step=chance.randrange(4, steps))
    broken = next_attempt(broken)
    kill_at(broken, ranks, step=chance.randrange(steps + 4, 2 * steps))
    broken = next_attempt(broken)
    finish(broken, ranks)

    for at, expected in enumerate(rank_files(whole.run_dir, ranks)):
        attempts = [broken.run_dir / f"{before}rank-{at:04d}.jsonl" for before in ("attempt-0.", "attempt-1.", "")]
        for attempt, path in enumerate(attempts):
            assert named(path, "start")[0]["attempt"] == attempt
            found = losses(path)
            assert len(found) > 1
            assert found == {step: loss for step, loss in losses(expected).items() if step in found}
        for path in attempts[1:]:
            (resumed,) = named(path, "resumed")
            assert min(losses(path)) == resumed["first_step"] > 0
            assert resumed["first_step"] == resumed["epoch"] * steps + resumed["step"]
            assert not [event for event in named(path, "eval_begin") if event["epoch"] < 0]
        assert max(losses(attempts[-1])) == 3 * steps - 1
        (end,) = named(attempts[-1], "train_end")
        assert end["steps"] == len(losses(attempts[-1]))
        assert end["images"] == 2 * end["steps"]
    scores = [named(run_dir / "rank-0000.jsonl", "eval_end")[-1]["map"] for run_dir in (whole.run_dir, broken.run_dir)]
    assert scores[0] == scores[1]


@pytest.mark.integration
def test_an_epoch_that_was_trained_is_evaluated_first(shapes: Path, tmp_path: Path) -> None:
    settings = settings_of(shapes, tmp_path, epochs=2)
    kill_at(settings, 1, step=1, then="checkpoint")

    finish(next_attempt(settings), 1)

    (path,) = rank_files(tmp_path, 1)
    (resumed,) = named(path, "resumed")
    assert (resumed["epoch"], resumed["steps_left"]) == (0, 0)
    assert min(losses(path)) == resumed["first_step"] == resumed["step"] > 0
    course = [event["event"] for event in events(path) if event["event"][:5] in ("train", "epoch", "eval_")]
    evaluated = ["eval_begin", "eval_end"]
    assert course == ["train_begin", *evaluated, "epoch_begin", "epoch_end", *evaluated, "train_end"]
    assert [event["epoch"] for event in named(path, "eval_begin")] == [0, 1]


@pytest.mark.integration
def test_without_a_checkpoint_a_run_begins_at_its_beginning(shapes: Path, tmp_path: Path) -> None:
    settings = settings_of(shapes, tmp_path, epochs=1, attempt=1)

    finish(settings, 1)

    (path,) = rank_files(tmp_path, 1)
    assert not named(path, "resumed")
    assert min(losses(path)) == 0
    assert [event["epoch"] for event in named(path, "eval_begin")] == [-1, 0]


@pytest.mark.integration
def test_a_steady_run_begins_anew(shapes: Path, tmp_path: Path) -> None:
    settings = settings_of(shapes, tmp_path, protocol="steady", steps=4, steady_warmup=2, attempt=1, checkpoint_steps=2)

    finish(settings, 1)

    (path,) = rank_files(tmp_path, 1)
    assert (named(path, "start")[0]["attempt"], named(path, "resumed")) == (1, [])
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.integration
def test_a_disk_that_takes_no_checkpoint_ends_the_run_with_the_reason(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way of the folder")

    code = run(settings_of(shapes, tmp_path, epochs=1), 1)

    (failure,) = named(tmp_path / "rank-0000.jsonl", "failure")
    assert (code != 0, failure["kind"]) == (True, "disk")
    assert f"{tmp_path}/checkpoints/epoch-0000-step-0000" in failure["message"]
    assert "could not be written: File exists; " in failure["message"]


ALONE = HostGroup(Ranks())
HALF = Position(1, 3, 7)


class FakeScaler:
    """Keeps the scale that a GradScaler would have come to."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def state_dict(self) -> dict[str, float]:
        return {"scale": self.scale}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.scale = state["scale"]


def trainee_of(settings: Settings, *, seed: int, scaler: Any = None) -> Trainee:
    backend = load_backend("cpu")
    backend.open(0, 1)
    backend.seed(seed)
    model = build_model(settings)
    trainee = Trainee(settings, backend, model, build_optimizer(model, settings))
    trainee.scaler = scaler
    for parameter in model.parameters():
        parameter.grad = torch.rand_like(parameter)
    trainee.optimizer.step()
    return trainee


def keep(trainee: Trainee, run_dir: Path) -> None:
    Checkpoints(run_dir).save(HALF, snapshot(trainee, trainee.model, ALONE, HALF))


def state_of(trainee: Trainee) -> list[Any]:
    momentum = [value["momentum_buffer"] for value in trainee.optimizer.state_dict()["state"].values()]
    return [*trainee.model.state_dict().values(), *momentum]


def test_everything_is_brought_back_to_the_bit(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, tmp_path)
    before = trainee_of(settings, seed=1, scaler=FakeScaler(65536.0 / 3))
    keep(before, tmp_path)
    drawn = torch.rand(5)

    after = trainee_of(settings, seed=2, scaler=FakeScaler(1.0))
    assert not all(torch.equal(one, other) for one, other in zip(state_of(before), state_of(after)))
    position = resume(after, after.model, ALONE, Checkpoints(tmp_path), 7)

    assert position == HALF
    assert torch.equal(torch.rand(5), drawn)
    assert len(state_of(before)) == len(state_of(after)) > 20
    assert all(torch.equal(one, other) for one, other in zip(state_of(before), state_of(after)))
    assert after.scaler.scale == before.scaler.scale
    assert after.optimizer.param_groups[0]["momentum"] == settings.momentum


@pytest.mark.parametrize(
    ("changes", "steps", "says"),
    [
        ({"seed": 7}, 7, "found seed 0, expected 7: it is another run's"),
        ({"learning_rate": 0.01}, 7, "found learning_rate 0.02, expected 0.01"),
        ({}, 8, "found steps 7, expected 8"),
        ({"num_classes": 5}, 7, "its weights are those of another model"),
    ],
)
def test_the_checkpoint_of_another_run_is_passed_over(
    tmp_path: Path, changes: dict[str, Any], steps: int, says: str
) -> None:
    settings = settings_of(tmp_path, tmp_path)
    keep(trainee_of(settings, seed=1), tmp_path)
    checkpoints = Checkpoints(tmp_path)
    after = trainee_of(replace(settings, **changes), seed=1)

    assert resume(after, after.model, ALONE, checkpoints, steps) is None
    assert says in checkpoints.skipped[0]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (b"{", "its facts cannot be read (JSONDecodeError"),
        (b"[]", "its facts cannot be read (ValueError: found a list, expected an object)"),
        (b"{}", "its facts cannot be read (KeyError"),
        (b'{"epoch": 0, "step": 9, "steps": 7}', "step 9 of 7 in epoch 0 is no position"),
        (None, "its facts cannot be read (KeyError: 'facts')"),
    ],
)
def test_facts_that_make_no_sense_are_passed_over(tmp_path: Path, facts: bytes | None, says: str) -> None:
    trainee = trainee_of(settings_of(tmp_path, tmp_path), seed=1)
    tensors = snapshot(trainee, trainee.model, ALONE, HALF)
    if facts is None:
        del tensors["facts"]
    else:
        tensors["facts"] = torch.tensor(list(facts), dtype=torch.uint8)
    Checkpoints(tmp_path).save(HALF, tensors)
    checkpoints = Checkpoints(tmp_path)

    assert resume(trainee, trainee.model, ALONE, checkpoints, 7) is None
    assert says in checkpoints.skipped[0]


def test_a_checkpoint_without_a_ranks_random_state_is_passed_over(tmp_path: Path) -> None:
    trainee = trainee_of(settings_of(tmp_path, tmp_path), seed=1)
    tensors = snapshot(trainee, trainee.model, ALONE, HALF)
    Checkpoints(tmp_path).save(HALF, {name: value for name, value in tensors.items() if name != "random.0.host"})
    checkpoints = Checkpoints(tmp_path)

    assert resume(trainee, trainee.model, ALONE, checkpoints, 7) is None
    assert "it lacks random states of a rank" in checkpoints.skipped[0]
