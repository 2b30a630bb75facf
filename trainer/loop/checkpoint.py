"""Checkpoints and resuming: taken from a rank's state, written atomically with a digest, validated, restored."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping

import numpy as np
import torch

from evidence.files import sha256_of, write_whole
from trainer.errors import DiskError, WeightsError, first_line
from trainer.loop.trainee import Trainee
from trainer.model.weights import read_state_dict
from trainer.ranks import HostGroup

Tensors = Dict[str, torch.Tensor]
"""The content of a checkpoint: tensors on the host by name, so that reading one unpickles nothing else."""

_FOLDER = "checkpoints"
_KEPT = 2
_NAME = re.compile(r"epoch-([0-9]{4,9})-step-([0-9]{6,12})\.pt")
_DIGEST = re.compile(r"([0-9a-f]{64})  (.+)\n")
_SCHEMA = 1
_FACTS, _MODEL, _OPTIMIZER, _RANDOM = "facts", "model.", "optimizer.", "random."
_SAME = ("cell", "model", "precision", "batch_size", "learning_rate", "seed")  # settings that a resumed run shares


@dataclass(frozen=True)
class Position:
    """A point of the training: `step` of the `steps` steps of `epoch` are done; epochs are counted from 0.

    With all steps done, the epoch's evaluation is still to come: it changes no state, so there is no checkpoint after
    it. Raises ValueError for numbers out of range.
    """

    epoch: int
    step: int
    steps: int

    def __post_init__(self) -> None:
        if self.epoch < 0 or not 0 <= self.step <= self.steps or self.steps < 1:
            raise ValueError(f"step {self.step} of {self.steps} in epoch {self.epoch} is no position")

    @property
    def taken(self) -> int:
        """Steps of all epochs: the number of the step that comes next."""
        return self.epoch * self.steps + self.step

    @property
    def left(self) -> int:
        """Steps that the epoch still has."""
        return self.steps - self.step

    @property
    def file(self) -> str:
        """Path of this position's checkpoint in the run's folder."""
        return f"{_FOLDER}/epoch-{self.epoch:04d}-step-{self.step:06d}.pt"


def blocks(first: int, steps: int, every: int) -> list[tuple[int, int]]:
    """Return the steps from `first` to `steps` of an epoch as blocks (begin, end), cut after each multiple of `every`.

    With `every` 0 there is one block; with no step left there is none.

    >>> blocks(2, 10, 4)
    [(2, 4), (4, 8), (8, 10)]
    """
    ends = [*range(first - first % every + every, steps, every)] if every else []
    begins = [first, *ends]
    return [(begin, end) for begin, end in zip(begins, [*ends, steps]) if begin < end]


def snapshot(trainee: Trainee, bare_model: torch.nn.Module, group: HostGroup, position: Position) -> Tensors:
    """Return the checkpoint on rank 0, {} on the others; a collective call.

    It holds model, optimizer and every rank's random states (each rank samples its own boxes), but no learning rate:
    that is a function of the position.
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
    """Restore model, optimizer and RNG of every rank from the newest valid checkpoint and return its position.

    Returns None without a checkpoint. A collective call: rank 0 reads the file and broadcasts it, as other hosts may
    not have it.
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
    """Return why this run cannot resume from a readable checkpoint; "" if it can."""
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


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:  # SGD without momentum
                yield f"{index}.{name}", value


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        index, _, kind = name.partition(".")
        state.setdefault(int(index), {})[kind] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _encode(facts: Mapping[str, Any]) -> torch.Tensor:
    """Return facts as JSON in a uint8 tensor: a checkpoint holds tensors only."""
    return torch.from_numpy(np.frombuffer(json.dumps(facts).encode("utf-8"), dtype=np.uint8).copy())


def _decode(tensor: torch.Tensor) -> dict[str, Any]:
    facts = json.loads(tensor.numpy().tobytes().decode("utf-8"))
    if not isinstance(facts, dict):
        raise ValueError(f"found a {type(facts).__name__}, expected an object")
    return facts


class Checkpoints:
    """The checkpoints of a run on rank 0's disk; the newest two valid ones are kept."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir, self._folder = run_dir, run_dir / _FOLDER
        self._good: list[str] = []
        self.skipped: list[str] = []
        """Why `newest` skipped files, one message each"""

    def save(self, position: Position, tensors: Tensors) -> tuple[str, int]:
        """Write the checkpoint of `position` and return (its path in the run's folder, bytes). Raises DiskError."""
        path = self._run_dir / position.file
        try:
            self._folder.mkdir(exist_ok=True)
            content = io.BytesIO()  # torch writes to files from native code, whose errors have no reason
            torch.save(tensors, content)
            write_whole(path, content.getbuffer())
            digest = hashlib.sha256(content.getbuffer()).hexdigest()
            write_whole(_digest_path(path), f"{digest}  {path.name}\n")
            self._good = [*(name for name in self._good if name != path.name), path.name][-_KEPT:]
            self._tidy_up()
            return position.file, path.stat().st_size
        except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError
            why = (error.strerror if isinstance(error, OSError) else "") or first_line(error)
            raise DiskError(
                f"{path}: the checkpoint could not be written: {why}; make room, or choose another disk"
            ) from error

    def newest(self, problem_of: Callable[[Tensors], str]) -> Tensors | None:
        """Return the newest checkpoint whose digest matches and of which `problem_of` returns ""; None without one.

        `problem_of` returns why readable content cannot be used. Reasons for skipping go to `skipped`. Files hold
        tensors only; nothing in them is called.
        """
        for path in self._newest_first():
            try:
                tensors = _read(path)
            except (OSError, WeightsError, ValueError) as error:
                self.skipped.append(_one_line(path, error))
                continue
            problem = problem_of(tensors)
            if not problem:
                self._good = [path.name]
                return tensors
            self.skipped.append(f"{path.name}: {problem}")
        return None

    def _newest_first(self) -> list[Path]:
        found: list[tuple[int, int, Path]] = []
        # Without the folder there are no checkpoints yet; if it cannot be read, saving will raise.
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                match = _NAME.fullmatch(path.name)
                if match is not None:
                    found.append((int(match.group(1)), int(match.group(2)), path))
        return [path for _, _, path in sorted(found, reverse=True)]

    def _tidy_up(self) -> None:
        """Remove all but the valid ones: older ones, those that `newest` skipped, and partial files."""
        kept = {name for good in self._good for name in (good, _digest_path(Path(good)).name)}
        for path in self._folder.iterdir():
            if path.name.lstrip(".").startswith("epoch-") and path.name not in kept:
                path.unlink()


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _read(path: Path) -> Tensors:
    """Read and check a file. Raises OSError, WeightsError, or ValueError if it is not as it was written."""
    match = _DIGEST.fullmatch(_digest_path(path).read_text(encoding="ascii"))
    if match is None or match.group(2) != path.name:
        raise ValueError(f"{_digest_path(path).name} holds no digest of it")
    found = sha256_of(path)
    if found != match.group(1):
        raise ValueError(
            f"found sha256 {found[:12]}..., expected {match.group(1)[:12]}...: it is torn, or was altered after it "
            "was written"
        )
    return read_state_dict(path)


def _one_line(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{Path(error.filename or path).name}: {error.strerror}"
    said = first_line(error, longest=2000)
    return said if path.name in said else f"{path.name}: {said}"
