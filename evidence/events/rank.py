"""All that one rank's file holds, as the objects that are judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Mapping

from evidence.events.clocks import AgentClock, ClockProbe, ClockRetest
from evidence.events.host import Environment
from evidence.events.links import CollectiveResult, LinksDone, PairResult
from evidence.events.one_step import Gradient, OneStepDone
from evidence.events.operators import OperatorAnswer, OperatorsDone
from evidence.events.peaks import DeviceRate, Layers, PeaksDone, Sustained
from evidence.events.setup import DataSet, Model, Optimization, Resumed, Start
from evidence.events.state import End, Failure, Health, Memory
from evidence.events.training import STEP_COLUMNS, Epoch, Evaluation, Parameters, Pass, TrainEnd
from evidence.files import WORK_SCHEMA

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Windows:
    """The step windows of a rank in columns: the fields of Window, `t_ns` (when it was written) and `size` (steps).

    One entry a window, int64; `warmup` bool, `lr`, `gradient_norm` and `loss_scale` float64 (NaN for None),
    `backward_steps` and `moved` -1 for None. STEP_COLUMNS and `trained` have one entry a step, windows one after the
    other: `images` and `compute_ns` int64, `loss` float64, not always finite. `trained` are the images of a step that
    changed the weights, 0 of a skipped one.
    """

    t_ns: np.ndarray
    epoch: np.ndarray
    step: np.ndarray
    warmup: np.ndarray
    lr: np.ndarray
    wall_ns: np.ndarray
    size: np.ndarray
    wait_ns: np.ndarray
    copy_ns: np.ndarray
    compute_host_ns: np.ndarray
    forward_ns: np.ndarray
    padded_pixels: np.ndarray
    proposals: np.ndarray
    sampled: np.ndarray
    positives: np.ndarray
    forward_images: np.ndarray
    read_ns: np.ndarray
    span_ns: np.ndarray
    span_device_ns: np.ndarray
    images: np.ndarray
    compute_ns: np.ndarray
    loss: np.ndarray
    trained: np.ndarray
    backward_steps: np.ndarray
    moved: np.ndarray
    gradient_norm: np.ndarray
    loss_scale: np.ndarray

    @property
    def steps(self) -> int:
        """Steps in all windows."""
        return len(self.images)

    def select(self, chosen: np.ndarray) -> Windows:
        """Return the windows for which `chosen` (bool, one entry a window) is true."""
        steps = chosen.repeat(self.size)
        by_step = (*STEP_COLUMNS, "trained")
        columns = {name: column[steps if name in by_step else chosen] for name, column in vars(self).items()}
        return Windows(**columns)

    @property
    def measured(self) -> Windows:
        """The windows that count: all but the warm-up."""
        return self.select(~self.warmup)


def _once(event: str) -> Any:
    """Return a field for the one event of that name, None without it."""
    return field(default=None, metadata={"once": event})


def _all(event: str) -> Any:
    """Return a field for all events of that name."""
    return field(default=(), metadata={"all": event})


@dataclass(frozen=True, eq=False)
class RankEvidence:
    """All that could be read from one rank's file; `rank` is the number in the file's name.

    `seen` counts the events by name. Of an event that may come once only, the first is kept. `resumed` is None for a
    rank that began at the beginning. `checkpoints_ns` has the times when a checkpoint had been written. `environment`
    is of the first rank of each host, `optimizations` of rank 0. `model` is None if the rank never built it. `retests`
    and `agent_clock` came with schema 3.
    """

    rank: int
    file: str
    seen: Mapping[str, int]
    windows: Windows
    optimizations: tuple[Optimization, ...] = ()
    model: Model | None = None
    start: Start | None = _once("start")
    clock: ClockProbe | None = _once("clock_test")
    retests: tuple[ClockRetest, ...] = _all("clock_retest")
    agent_clock: tuple[AgentClock, ...] = _all("agent_clock")
    environment: Environment | None = _once("environment")
    data: tuple[DataSet, ...] = _all("data")
    train_begin_ns: int | None = _once("train_begin")
    train_end: TrainEnd | None = _once("train_end")
    evaluations: tuple[Evaluation, ...] = _all("eval_end")
    epochs: tuple[Epoch, ...] = _all("epoch_end")
    passes: tuple[Pass, ...] = _all("pass")
    parameters: tuple[Parameters, ...] = _all("parameters")
    checkpoints_ns: tuple[int, ...] = _all("checkpoint")
    memories: tuple[Memory, ...] = _all("memory")
    health: tuple[Health, ...] = _all("health")
    failures: tuple[Failure, ...] = _all("failure")
    resumed: Resumed | None = _once("resumed")
    end: End | None = _once("end")
    operators: tuple[OperatorAnswer, ...] = _all("operator")
    operators_done: OperatorsDone | None = _once("operators")
    gradients: tuple[Gradient, ...] = _all("gradient")
    one_step: OneStepDone | None = _once("one_step")
    collectives: tuple[CollectiveResult, ...] = _all("collective")
    pairs: tuple[PairResult, ...] = _all("link_pair")
    links_done: LinksDone | None = _once("links")
    rates: tuple[DeviceRate, ...] = _all("device_rate")
    sustained: Sustained | None = _once("sustained")
    peaks_done: PeaksDone | None = _once("peaks")
    layers: Layers | None = _once("layers")

    @property
    def probes_ns(self) -> int:
        """What the probes after the clock test took, which is no part of the run that is timed."""
        ended = (self.operators_done, self.one_step, self.links_done, self.peaks_done)
        return sum(done.t_ns - done.begun_ns for done in ended if done is not None)

    @property
    def shows_work(self) -> bool:
        """Whether the rank's schema has what shows that it trained."""
        return self.start is not None and self.start.schema >= WORK_SCHEMA

    @property
    def nothing_left(self) -> bool:
        """Whether the epoch that the rank resumed had been trained already, so that it may be the last one."""
        return self.resumed is not None and self.resumed.steps_left == 0

    @property
    def first_epoch(self) -> int:
        """The first epoch that the rank had to train."""
        return 0 if self.resumed is None else self.resumed.epoch + self.nothing_left
