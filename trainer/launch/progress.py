"""How far the ranks of a host are, from the files that they write: what an agent reports to the session each second."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from evidence.files import rank_file

_LAST_EVENT_BYTES = 16_384  # no event that ends a file is longer


@dataclass
class TrainingState:
    """What rank 0's events say: the phase, the epoch from 0, the step of `steps` in it, and the last window's rate.

    `evaluated` of `to_evaluate` images are done in an evaluation that has taken `evaluating_s`; `evaluation_s` is how
    long the last whole one took, None before there was one.
    """

    phase: str = "starting"
    world_size: int = 1
    epoch: int = 0
    steps: int = 0
    step: int = 0
    images_per_s: float = 0.0
    step_s: float = 0.0
    loss: float | None = None
    map: float | None = None
    evaluated: int = 0
    to_evaluate: int = 0
    evaluating_since_ns: int | None = None
    evaluating_s: float = 0.0
    evaluation_s: float | None = None

    def update(self, event: dict[str, Any]) -> None:
        """Take in one event."""
        kind = event.get("event")
        if kind == "start":
            self.world_size, self.phase = event.get("world_size", 1), "setting up"
        elif kind == "eval_begin":
            self.phase, self.evaluated, self.to_evaluate = "evaluating", 0, 0
            self.evaluating_since_ns, self.evaluating_s = event.get("t_ns"), 0.0
        elif kind == "progress" and event.get("phase") == "evaluation":
            self.evaluated, self.to_evaluate = event.get("done") or 0, event.get("total") or 0
            self.phase, self.evaluating_s = f"evaluating {self.evaluated}/{self.to_evaluate}", self._evaluating(event)
        elif kind == "eval_end":
            self.map, self.phase = event.get("map", self.map), "evaluated"
            if self.evaluating_since_ns is not None:
                self.evaluation_s, self.evaluating_since_ns = self._evaluating(event), None
        elif kind == "epoch_begin":
            self.phase = "training"
            self.epoch, self.steps, self.step = event.get("epoch", 0), event.get("steps", 0), 0
        elif kind == "window":
            self._window(event)
        elif kind == "end":
            self.phase, self.step_s = "ended", 0.0

    def left_s(self, epochs: int, steps: int, evaluations: bool) -> float | None:
        """Return the time to the end of training, all evaluations that are still to come included.

        `steps` is the length of a run without epochs; otherwise `evaluations` says that each epoch is followed by one.
        As long as none has been timed they count nothing. None before the first step.
        """
        if not self.step_s:
            return None
        steps, evaluating = self.steps or steps, self.phase.startswith("evaluat")
        to_train = (epochs - self.epoch) * steps - (steps if evaluating else self.step)
        left_s = max(0, to_train) * self.step_s
        if evaluations:
            whole, begun = epochs - self.epoch - evaluating, self.phase.startswith("evaluating")
            left_s += max(0, whole) * (self.evaluation_s or 0.0) + (self._evaluation_left_s() if begun else 0.0)
        return left_s

    def _evaluation_left_s(self) -> float:
        """Return the rest of the running evaluation: by its images, and by the last one, which was scored too."""
        by_images = self.evaluating_s * (self.to_evaluate - self.evaluated) / self.evaluated if self.evaluated else 0.0
        return max(by_images, (self.evaluation_s or 0.0) - self.evaluating_s)

    def _evaluating(self, event: dict[str, Any]) -> float:
        begun_ns = self.evaluating_since_ns
        return 0.0 if begun_ns is None else max(0.0, (event.get("t_ns", begun_ns) - begun_ns) / 1e9)

    def _window(self, event: dict[str, Any]) -> None:
        self.phase = "training"
        images, wall_s = event.get("images") or [], event.get("wall_ns", 0) / 1e9
        self.step += len(images)
        if images and wall_s > 0:
            self.images_per_s = sum(images) * self.world_size / wall_s
            self.step_s = wall_s / len(images)
        losses = event.get("loss") or []
        self.loss = losses[-1] if losses and isinstance(losses[-1], float) else None


@dataclass
class HostProgress:
    """Bytes that each rank has written, by rank; the ranks that have logged their end or failure; rank 0's state."""

    sizes: dict[str, int]
    done: list[int]
    state: dict[str, Any] | None = None


class ProgressReader:
    """Reads what is new in the event files of `ranks` at each call of `poll`.

    Telemetry goes on when ranks hang, so only the ranks' own files count as a sign of life.
    """

    def __init__(self, folder: Path, ranks: Sequence[int]) -> None:
        self._folder = folder
        self._ranks = ranks
        self._sizes: dict[str, int] = {}
        self._done: set[int] = set()
        self._state = TrainingState() if 0 in ranks else None
        self._offset = 0

    def poll(self) -> HostProgress:
        """Return the ranks' progress now."""
        for rank in self._ranks:
            try:
                size = self._file(rank).stat().st_size
            except OSError:
                continue
            if size != self._sizes.get(str(rank)):
                self._sizes[str(rank)] = size
                (self._done.add if self._ends(rank, size) else self._done.discard)(rank)
        if self._state is not None:
            for event in self._new_events():
                self._state.update(event)
        state = None if self._state is None else asdict(self._state)
        return HostProgress(dict(self._sizes), sorted(self._done), state)

    def _file(self, rank: int) -> Path:
        return self._folder / rank_file(rank)

    def _ends(self, rank: int, size: int) -> bool:
        try:
            with self._file(rank).open("rb") as file:
                file.seek(max(0, size - _LAST_EVENT_BYTES))
                last = file.read().splitlines()[-1:]
        except OSError:
            return False
        return any(b'"event":"end"' in line or b'"event":"failure"' in line for line in last)

    def _new_events(self) -> Iterator[dict[str, Any]]:
        try:
            with self._file(0).open("rb") as file:
                file.seek(self._offset)
                added = file.read()
        except OSError:
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # judging reports damage
            if isinstance(event, dict):
                yield event
