"""What a run needs to go on as if it had never broken off: taken from its parts for a checkpoint, and put back."""

from __future__ import annotations

import json
from typing import Any, Iterator, Mapping

import numpy as np
import torch

from trainer.loop.checkpoint import Checkpoints, Tensors
from trainer.loop.position import Position
from trainer.loop.steps import Trainee
from trainer.ranks import HostGroup

_SCHEMA = 1
_FACTS, _MODEL, _OPTIMIZER, _RANDOM = "facts", "model.", "optimizer.", "random."
_SAME = ("cell", "model", "precision", "batch_size", "learning_rate", "seed")  # settings that a resumed run shares


def snapshot(trainee: Trainee, bare_model: torch.nn.Module, group: HostGroup, position: Position) -> Tensors:
    """Return rank 0's checkpoint, on the other ranks nothing; every rank has to call it.

    The learning rate is none of its parts: it is a function of the position. The others' random states are: no two
    ranks draw the same boxes.
    """
    tensors: Tensors = {}
    for name, state in sorted(trainee.backend.random_states().items()):
        rows = state.numpy().astype(np.float64)[:, None]  # bytes are exact in any float
        for rank, part in enumerate(group.all_gather(rows)):
            tensors[f"{_RANDOM}{rank}.{name}"] = torch.from_numpy(part[:, 0].astype(np.uint8))
    if group.ranks.rank != 0:
        return {}
    tensors.update({_MODEL + name: value.detach().cpu() for name, value in bare_model.state_dict().items()})
    tensors.update({_OPTIMIZER + name: value.detach().cpu() for name, value in _optimizer_tensors(trainee.optimizer)})
    tensors[_FACTS] = _encode(_facts(trainee, group, position))
    return tensors


def resume(
    trainee: Trainee, bare_model: torch.nn.Module, group: HostGroup, checkpoints: Checkpoints, steps_per_epoch: int
) -> Position | None:
    """Bring every rank to where the newest good checkpoint was taken and return that position; None where none is.

    Rank 0 looks for it, as the others may be on hosts that do not see its files, and sends them what it found.
    """
    found: Tensors | None = None
    if group.ranks.rank == 0:
        own = Position(0, 0, steps_per_epoch)
        found = checkpoints.newest(lambda tensors: _unfit(tensors, trainee, bare_model, group, own))
    tensors = group.broadcast(found)
    if tensors is None:
        return None
    facts = _decode(tensors[_FACTS])
    position = Position(facts["epoch"], facts["step"], facts["steps"])
    bare_model.load_state_dict(_part(tensors, _MODEL))
    _restore_optimizer(trainee.optimizer, _part(tensors, _OPTIMIZER))
    if trainee.scaler is not None:
        trainee.scaler.load_state_dict(facts["scaler"])
    words = [trainee.settings.seed, group.ranks.rank, position.epoch, position.step]
    anew = int(np.random.SeedSequence(words).generate_state(1)[0])
    trainee.backend.set_random_states(_part(tensors, f"{_RANDOM}{group.ranks.rank}."), anew)
    return position


def _facts(trainee: Trainee, group: HostGroup, position: Position) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "epoch": position.epoch,
        "step": position.step,
        "steps": position.steps,
        "phase": "training" if position.left else "evaluation",
        "scaler": None if trainee.scaler is None else trainee.scaler.state_dict(),
        "world_size": group.ranks.world_size,
        **{name: getattr(trainee.settings, name) for name in _SAME},
    }


def _unfit(tensors: Tensors, trainee: Trainee, bare_model: torch.nn.Module, group: HostGroup, own: Position) -> str:
    """Say why this run cannot go on from a checkpoint that is whole; "" where it can."""
    try:
        facts = _decode(tensors[_FACTS])
        Position(facts["epoch"], facts["step"], facts["steps"])
        expected = _facts(trainee, group, own)
        names = ("schema", "steps", "world_size", *_SAME)
        wrong = [name for name in names if facts[name] != expected[name]]
    except (KeyError, TypeError, ValueError) as error:
        return f"its facts cannot be read ({type(error).__name__}: {error})"
    if wrong:
        return f"found {wrong[0]} {facts[wrong[0]]}, expected {expected[wrong[0]]}: it is another run's"
    wanted = {name: value.shape for name, value in bare_model.state_dict().items()}
    if {name: value.shape for name, value in _part(tensors, _MODEL).items()} != wanted:
        return "its weights are those of another model"
    states = {
        f"{_RANDOM}{rank}.{name}" for rank in range(group.ranks.world_size) for name in trainee.backend.random_states()
    }
    return "" if states <= tensors.keys() else "it lacks random states of a rank"


def _optimizer_tensors(optimizer: Any) -> Iterator[tuple[str, torch.Tensor]]:
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:  # SGD without momentum
                yield f"{index}.{name}", value


def _restore_optimizer(optimizer: Any, tensors: Tensors) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        index, _, kind = name.partition(".")
        state.setdefault(int(index), {})[kind] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _encode(facts: Mapping[str, Any]) -> torch.Tensor:
    """Return facts as the bytes of their JSON, uint8: a checkpoint holds tensors only."""
    return torch.from_numpy(np.frombuffer(json.dumps(facts).encode("utf-8"), dtype=np.uint8).copy())


def _decode(tensor: torch.Tensor) -> dict[str, Any]:
    facts = json.loads(tensor.numpy().tobytes().decode("utf-8"))
    if not isinstance(facts, dict):
        raise ValueError(f"found a {type(facts).__name__}, expected an object")
    return facts
