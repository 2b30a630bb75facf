"""What one rank recorded, as data: its introduction, evaluations, step windows, memory and end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping

if TYPE_CHECKING:
    import numpy as np

    from evidence.host import HostFacts

SCHEMA = 2

HOST_BACKENDS = ("cpu",)
"""Where a card is a share of the machine: its memory is that of the rank's process, and it has no name."""

LEDGER_PARTS = (
    "compute_ns",
    "data_wait_ns",
    "copy_ns",
    "evaluation_ns",
    "checkpoint_ns",
    "bookkeeping_ns",
    "idle_ns",
)
"""What the wall time between train begin and train end is split into."""

STEP_COLUMNS = ("images", "compute_ns", "loss")
"""The columns of Windows with one entry a step; the others have one a window."""


SIMULATED_CLOCK = "simulated"
"""What a rank says of a clock that only planted work advances."""


@dataclass(frozen=True)
class Start:
    """How a rank introduced itself; the last eleven are None where it did not say.

    `clock` is "simulated" where only planted work advanced it; `without` names the trainer's optimizations that were
    switched off.
    """

    t_ns: int
    schema: int
    cell: str
    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    host: str
    backend: str
    simulated: bool
    device_name: str
    card: int
    precision: str
    batch_size: int
    protocol: str
    timing: str
    capacity_gib: float | None
    learning_rate: float | None
    model: str | None
    seed: int | None
    tf32: bool | None
    clock: str | None
    host_clock: bool | None
    serial: str | None
    attempt: int | None
    without: tuple[str, ...] | None
    bucket_mb: int | None


SWITCHED_OFF = "switched off"
"""What the ledger says of an optimization that somebody wanted to do without."""


@dataclass(frozen=True)
class Optimization:
    """An item of the trainer's optimization ledger: `what` is done, and `published` what is done instead.

    `allowed` by the benchmark's rules: "always", "declared" or "own row"; `proof` names the test that shows that
    results are the same either way, "" where they are not. `why` says why it was not `on`, "" where it was.
    """

    name: str
    what: str
    published: str
    allowed: str
    proof: str
    on: bool
    why: str


@dataclass(frozen=True)
class Resumed:
    """Where an attempt took up what the one before had left: `step` steps of `epoch` were done, `steps_left` were not.

    `first_step` is the number in the run of the step that came next. Where none was left, the epoch's evaluation was
    owed, as nothing is kept after it.
    """

    epoch: int
    step: int
    steps_left: int
    first_step: int


@dataclass(frozen=True)
class DataSet:
    """How many images a rank found to train on and to evaluate on (None where it loads none).

    The last two are how many the annotation files list, those without a valid box among them; None where not told.
    """

    train_images: int
    val_images: int | None
    train_listed: int | None = None
    val_listed: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a rank; `epoch` is -1 before training. All after `images` is known to rank 0 alone.

    `scorer` is the library that computed `map`, with its version. Where pycocotools scored the same detections too,
    `checked_map` is what it came to, and `check_difference` the largest difference in any of COCO's twelve statistics.
    """

    epoch: int
    begin_ns: int
    end_ns: int
    images: int
    images_total: int | None
    images_expected: int | None
    map: float | None
    scorer: str | None = None
    checked_map: float | None = None
    check_difference: float | None = None


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch beside its beginning; `planned_steps` is None where no beginning was written."""

    epoch: int
    planned_steps: int | None
    steps: int
    images: int


@dataclass(frozen=True)
class TrainEnd:
    """What a rank says it has done; `ledger` has LEDGER_PARTS in ns."""

    t_ns: int
    images: int
    steps: int
    ledger: Mapping[str, int]


@dataclass(frozen=True)
class Memory:
    """Peaks in GiB: the device allocator's, and the resident memory of the rank's process."""

    allocated_gib: float | None
    reserved_gib: float | None
    resident_gib: float | None


@dataclass(frozen=True)
class ClockProbe:
    """What a known amount of work, queued on the device before training, took by each clock; one entry a round.

    `work_ns`: until its result was read back. `synchronise_ns`, `after_ns`: until synchronise returned, and from there
    until the result was read. `timer_ns`, `timer_wall_ns`: by the step timer, and by the host's clock around it.
    `steps_back` counts backward steps of the host's clock.
    """

    work_ns: tuple[int, ...]
    synchronise_ns: tuple[int, ...]
    after_ns: tuple[int, ...]
    timer_ns: tuple[int, ...]
    timer_wall_ns: tuple[int, ...]
    steps_back: int


@dataclass(frozen=True)
class Failure:
    """Why a rank gave up."""

    kind: str
    message: str


@dataclass(frozen=True)
class End:
    """The last event of a rank that came through."""

    t_ns: int
    reason: str


@dataclass(frozen=True, eq=False)
class Windows:
    """The step windows of a rank in columns.

    One entry a window: `t_ns` (when it was written), `epoch`, `step` (index of its first step), `size` (steps in it),
    `wall_ns` and, summed over its steps, `wait_ns`, `copy_ns`, `compute_host_ns`, `forward_ns` (a part of compute),
    `padded_pixels`, `proposals`, `sampled` and `positives`, int64; `warmup`, bool; `lr`, float64. One entry a step,
    windows one after the other: `images` and `compute_ns`, int64; `loss`, float64, not always finite.
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
    images: np.ndarray
    compute_ns: np.ndarray
    loss: np.ndarray

    @property
    def steps(self) -> int:
        """Steps in all windows."""
        return len(self.images)

    def select(self, chosen: np.ndarray) -> Windows:
        """The windows for which `chosen` (bool, one entry a window) is true."""
        steps = chosen.repeat(self.size)
        columns = {name: column[steps if name in STEP_COLUMNS else chosen] for name, column in vars(self).items()}
        return Windows(**columns)

    @property
    def measured(self) -> Windows:
        """The windows that count: all but the warm-up."""
        return self.select(~self.warmup)


@dataclass(frozen=True, eq=False)
class RankEvidence:
    """Everything that could be read from one rank's file; `rank` is the number in the file's name.

    `seen` counts the events by name. Of an event that may come once only, the first is kept. `resumed` is None for a
    rank that began at the beginning. `checkpoints_ns` has the times when a checkpoint had been written,
    `environment` what the first rank of a host found of it; the others have none. `optimizations` is the ledger of
    what the trainer does faster than the published runs; the first rank has it.
    """

    rank: int
    file: str
    seen: Mapping[str, int]
    start: Start | None
    clock: ClockProbe | None
    data: tuple[DataSet, ...]
    evaluations: tuple[Evaluation, ...]
    epochs: tuple[Epoch, ...]
    windows: Windows
    train_begin_ns: int | None
    train_end: TrainEnd | None
    memories: tuple[Memory, ...]
    failures: tuple[Failure, ...]
    end: End | None
    resumed: Resumed | None = None
    checkpoints_ns: tuple[int, ...] = ()
    environment: HostFacts | None = None
    optimizations: tuple[Optimization, ...] = ()

    @property
    def nothing_left(self) -> bool:
        """Whether the epoch that the rank resumed had been trained already, so that it may be the last one."""
        return self.resumed is not None and self.resumed.steps_left == 0

    @property
    def first_epoch(self) -> int:
        """The first epoch that the rank had to train."""
        return 0 if self.resumed is None else self.resumed.epoch + self.nothing_left
