"""The events of a rank: each class is one kind of line in `rank-NNNN.jsonl`, its fields are the line's.

    log.write(Failure("disk", "no space left on device"))
    # {"event":"failure","t_ns":1234,"kind":"disk","message":"no space left on device"}

Every line has `event`, the name of its kind, and `t_ns`, the rank's monotonic clock in ns. Times are ns of that clock.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Mapping, TypeVar

from evidence.codec import AnyFloat
from evidence.files import WORK_SCHEMA
from evidence.host import Environment

if TYPE_CHECKING:
    import numpy as np

    from evidence.numerics import OperatorAnswer, OperatorsDone

HOST_BACKENDS = ("cpu",)
"""Where a device is a share of the machine: its memory is that of the rank's process, and it has no name."""

SIMULATED_CLOCK = "simulated"
"""`Start.clock` of a clock that only planted work advances."""

SWITCHED_OFF = "switched off"
"""`Optimization.why` of an optimization that the user switched off."""

LEAST_WORK_NS = 1_000_000
"""A round of a clock test that is shorter shows nothing: queueing the work takes as long as doing it."""

EVENTS: dict[str, type] = {}
"""The class of each event by its name."""
ONCE: set[str] = set()
"""The names of events that come at most once."""

_C = TypeVar("_C", bound=type)


def event(name: str, *, once: bool = False) -> Callable[[_C], _C]:
    """Register a dataclass as the event of that name."""

    def register(cls: _C) -> _C:
        EVENTS[name] = cls
        cls.event = name  # type: ignore[attr-defined]
        if once:
            ONCE.add(name)
        return cls

    return register


@event("start", once=True)
@dataclass(frozen=True)
class Start:
    """The first event: who the rank is, and what it is going to do on which device.

    `t_ns` is the time at which imports were done. `clock` is "simulated" where only planted work advances it. `timing`
    is the method of the step timer, `host_clock` whether it waits for the device after each step as published runs did.
    `attempt` counts restarts. `without` names the optimizations that were switched off. None: older runs did not write
    it. `sides`: the pixels to which pictures were resized, where a smoke run had others than its model's.
    """

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
    card: int  # index of the device in its host
    precision: str
    batch_size: int
    protocol: str
    timing: str
    node: int | None = None
    pid: int | None = None
    clock: str | None = None
    serial: str | None = None
    placement: Mapping[str, Any] = field(default_factory=dict)  # CPUs, NUMA nodes, the device's PCI address
    capacity_gib: float | None = None
    driver: str | None = None
    collectives: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)  # variables that decide how the backend works
    device_api: str | None = None  # through which the framework shows its devices, where a vendor has several
    tf32: bool | None = None
    learning_rate: float | None = None
    model: str | None = None
    seed: int | None = None
    attempt: int | None = None
    host_clock: bool | None = None
    without: tuple[str, ...] | None = None
    bucket_mb: int | None = None
    sample_interval_s: float | None = None
    sides: tuple[int, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    deterministic: bool | None = None
    cudnn_benchmark: bool | None = None
    variables: Mapping[str, str] = field(default_factory=dict)  # those that change arithmetic or speed, redacted
    t_ns: int = 0


@event("clock_test", once=True)
@dataclass(frozen=True)
class ClockProbe:
    """What a known amount of work, queued on the device before training, took by each clock; one entry a round.

    `side`, `units`: the work of a round, matrix products. `work_ns`: until its result was read back. `synchronise_ns`,
    `after_ns`: until synchronise returned, and from there until the result was read. `timer_ns`, `timer_wall_ns`: by
    the step timer, and by the host's clock around it. `steps_back` counts backward steps of the host's clock. `note`
    has what is not known of the backend's synchronise.
    """

    work_ns: tuple[int, ...]
    synchronise_ns: tuple[int, ...]
    after_ns: tuple[int, ...]
    timer_ns: tuple[int, ...]
    timer_wall_ns: tuple[int, ...]
    steps_back: int
    side: int | None = None
    units: int | None = None
    note: str = ""

    @property
    def rounds(self) -> tuple[tuple[int, ...], ...]:
        """All lists that have one entry a round."""
        return self.work_ns, self.synchronise_ns, self.after_ns, self.timer_ns, self.timer_wall_ns

    @property
    def shortest_ns(self) -> float:
        """The median time of a round, of the two readings that have the whole of it the shorter one."""
        return min(statistics.median(self.work_ns), statistics.median(self.timer_wall_ns))


@event("clock_retest")
@dataclass(frozen=True)
class ClockRetest:
    """The clock test again, between two steps of training: `step` came next. The lists are as in ClockProbe."""

    step: int
    synchronise_ns: tuple[int, ...]
    after_ns: tuple[int, ...]
    timer_ns: tuple[int, ...]
    timer_wall_ns: tuple[int, ...]

    @property
    def rounds(self) -> tuple[tuple[int, ...], ...]:
        """All lists that have one entry a round."""
        return self.synchronise_ns, self.after_ns, self.timer_ns, self.timer_wall_ns


@event("agent_clock")
@dataclass(frozen=True)
class AgentClock:
    """A reading of the clock of the host's agent, a process beside the rank, between two readings of the rank's own.

    The rank asked at `asked_ns` and had the answer `agent_ns` at `t_ns`. On a simulated clock the agent's is the
    simulation's.
    """

    asked_ns: int
    agent_ns: int
    t_ns: int = 0


@dataclass(frozen=True)
class Split:
    """The images of a split: those that are used, those that the annotation file lists, and what was left out."""

    images: int
    images_listed: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)  # images, by reason
    boxes: int | None = None
    boxes_listed: int | None = None
    boxes_dropped: Mapping[str, int] = field(default_factory=dict)  # by reason
    boxes_clipped: int | None = None
    crowds: int | None = None  # annotations of crowds, of all that are listed
    categories: int | None = None
    annotations_sha256: str | None = None
    id_sum: int | None = None  # of the images that are used, as in Pass


@event("data")
@dataclass(frozen=True)
class DataSet:
    """The data set as a rank found it: name of its folder, both splits, and where the index came from."""

    train: Split
    val: Split | None = None
    folder: str = ""
    index: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int | None]:
        """The numbers of images that all ranks have to agree on."""
        val = self.val
        return {
            "train_images": self.train.images,
            "val_images": None if val is None else val.images,
            "train_listed": self.train.images_listed,
            "val_listed": None if val is None else val.images_listed,
        }

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by the name that COCO 2017 gives them."""
        return {"train2017": self.train, **({} if self.val is None else {"val2017": self.val})}

    @property
    def train_images(self) -> int:
        """Images to train on."""
        return self.train.images

    @property
    def val_images(self) -> int | None:
        """Images to evaluate on; None if the run has no validation split."""
        return None if self.val is None else self.val.images

    @property
    def train_listed(self) -> int | None:
        """Images that the annotation file of the training split lists."""
        return self.train.images_listed

    @property
    def val_listed(self) -> int | None:
        """Images that the annotation file of the validation split lists."""
        return None if self.val is None else self.val.images_listed


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


@event("optimizations", once=True)
@dataclass(frozen=True)
class Optimizations:
    """The optimization ledger, written by rank 0."""

    items: tuple[Optimization, ...]


@event("model")
@dataclass(frozen=True)
class Model:
    """The network that was built; `parameters` counts frozen ones too, `trained` those that the optimizer changes."""

    name: str
    parameters: int
    trained: int | None = None


@event("resumed", once=True)
@dataclass(frozen=True)
class Resumed:
    """The checkpoint that a restarted attempt went on from: `step` steps of `epoch` were done, `steps_left` were not.

    `first_step` is the number in the run of the step that came next. With no steps left, the epoch's evaluation comes
    next, as nothing is kept after it. `skipped` are checkpoints that could not be read.
    """

    epoch: int
    step: int
    steps_left: int
    first_step: int
    file: str = ""
    skipped: tuple[str, ...] = ()


@event("parameters")
@dataclass(frozen=True)
class Parameters:
    """The trained parameters before training, at each checkpoint and after training.

    `steps` are those that the rank had taken, warm-up included; `sha256` is of all `tensors`, of which `moved` are not
    as they were at the rank's first such event. `unmoved` names some of the others.
    """

    steps: int
    sha256: str
    tensors: int
    moved: int
    unmoved: tuple[str, ...] = ()


@event("pass")
@dataclass(frozen=True)
class Pass:
    """A pass over the data set, as far as it was trained: `images` on this rank, in `steps` steps from `from_step` on.

    `repeated` counts images that came a second time in it. `id_sum` is the sum modulo 2**61 of a hash of each image's
    id, `smallest` the smallest such hashes, so that ranks can be compared without listing ids. `unused` images are
    left out on every rank to fill whole batches; `unused_sum` is their sum. `exif_oriented` images have an EXIF
    orientation of 2 to 8, which is ignored; None if that was not looked at.
    """

    epoch: int
    from_step: int
    steps: int
    images: int
    repeated: int
    id_sum: int
    smallest: tuple[int, ...]
    unused: int
    unused_sum: int
    exif_oriented: int | None = None


@event("eval_begin")
@dataclass(frozen=True)
class EvalBegin:
    """An evaluation begins; `epoch` is -1 before training."""

    epoch: int


@event("eval_end")
@dataclass(frozen=True)
class EvalEnd:
    """An evaluation has ended; all from `images_total` on is written by rank 0 alone.

    `images` and `detections` are this rank's. `scorer` is the library that computed `map`, with its version. Where
    pycocotools scored the same detections too, `checked_map` is its result and `check_difference` the largest
    difference in any of COCO's twelve statistics. `exif_oriented` is as in Pass, of all images that this rank read.
    """

    epoch: int
    images: int
    detections: int | None = None
    images_total: int | None = None
    images_expected: int | None = None
    map: AnyFloat | None = None
    stats: Any = None  # COCO's twelve statistics
    scorer: str | None = None
    checked_map: AnyFloat | None = None
    check_difference: AnyFloat | None = None
    exif_oriented: int | None = None


@dataclass(frozen=True)
class Evaluation(EvalEnd):
    """A whole evaluation: its end, with the times of both events."""

    begin_ns: int = 0
    end_ns: int = 0


@event("train_begin", once=True)
@dataclass(frozen=True)
class TrainBegin:
    """Training begins: after initial evaluation and warm-up."""


@event("epoch_begin")
@dataclass(frozen=True)
class EpochBegin:
    """An epoch begins: `steps` are planned, from `from_step` on; `images_unused` are left out to fill whole batches."""

    epoch: int
    steps: int
    images_unused: int | None = None
    from_step: int | None = None


@event("epoch_end")
@dataclass(frozen=True)
class EpochEnd:
    """An epoch's training has ended."""

    epoch: int
    steps: int
    images: int


@dataclass(frozen=True)
class Epoch(EpochEnd):
    """The end of an epoch beside its beginning, whose fields are None without one."""

    planned_steps: int | None = None
    images_unused: int | None = None
    from_step: int | None = None


@event("window")
@dataclass(frozen=True)
class Window:
    """A window of training steps. `images`, `compute_ns` and `loss` have an entry a step, the others are sums or last.

    `step` is the index of its first step, `lr` the last learning rate. `wait_ns` for data, `copy_ns` to the device,
    `compute_host_ns` by the host's clock, `forward_ns` of the forward passes that were timed, over `forward_images`.
    `padded_pixels`, `proposals`, `sampled` and `positives` show what the steps worked on. After `backward_steps` of
    them the parameters had gradients, whose norm after the last one was `gradient_norm` (before clipping). `skipped`
    are the positions in the window of steps whose update a GradScaler skipped, `loss_scale` is its last scale; None:
    schema 2 did not have it, or nothing is scaled. `read_ns` is the time from the end of synchronise until the last
    loss was read. `span_ns` is the host's time between two synchronisations two seconds or more apart,
    `span_device_ns` that of the device's events inside; 0 for a window that ends none.
    """

    epoch: int
    step: int
    warmup: bool
    lr: float
    wall_ns: int
    wait_ns: int
    copy_ns: int
    compute_host_ns: int
    forward_ns: int
    padded_pixels: int
    proposals: int
    sampled: int
    positives: int
    images: tuple[int, ...]
    compute_ns: tuple[int, ...]
    loss: tuple[AnyFloat, ...]
    backward_steps: int | None = None
    gradient_norm: AnyFloat | None = None
    skipped: tuple[int, ...] = ()
    loss_scale: AnyFloat | None = None
    forward_images: int = 0
    read_ns: int = 0
    span_ns: int = 0
    span_device_ns: int = 0


STEP_COLUMNS = ("images", "compute_ns", "loss")
"""The fields of Window with an entry a step."""


@event("checkpoint")
@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint was written, by rank 0."""

    epoch: int
    step: int
    file: str = ""
    bytes: int | None = None


PHASES = ("compute", "data_wait", "copy", "evaluation", "checkpoint", "bookkeeping", "idle")
"""What a rank does at any moment of the training; its time ledger has a part for each."""
LEDGER_PARTS = tuple(f"{phase}_ns" for phase in PHASES)


@event("train_end", once=True)
@dataclass(frozen=True)
class TrainEnd:
    """Training has ended: what the rank says it has done, and its time ledger by LEDGER_PARTS, ns."""

    images: int
    steps: int
    ledger: Mapping[str, int]
    t_ns: int = 0


@event("memory")
@dataclass(frozen=True)
class Memory:
    """Peaks in GiB: of the device's allocator, and the resident memory of the rank's process."""

    allocated_gib: float | None = None
    reserved_gib: float | None = None
    resident_gib: float | None = None


BEFORE, AFTER = "before", "after"
"""`Health.when`: before the rank's training, and right after it."""


@event("health")
@dataclass(frozen=True)
class Health:
    """What the rank's device has counted and how its PCIe link runs; None, or absent from a mapping: not read.

    Errors and retired pages are counted since a time that the tool chooses, as the start of the driver: only their
    growth is of the run. `retirement_pending`: a page or row is going to be retired. `pcie_width` in lanes and
    `pcie_generation` are of now, those ending in `_max` what device and slot can do. `link_errors` are of NVLink and
    of PCIe (AER), by kind. `kernel_log` are lines of the kernel's log that name the device's PCI address and came
    since the event before. `sources` are what was read, `absent` why something was not.
    """

    when: str
    card: int
    pci: str | None = None
    sources: tuple[str, ...] = ()
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    retired_pages: int | None = None
    remapped_rows: int | None = None
    retirement_pending: bool | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_generation: int | None = None
    pcie_generation_max: int | None = None
    link_errors: Mapping[str, int] = field(default_factory=dict)
    kernel_log: tuple[str, ...] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    t_ns: int = 0


@event("progress")
@dataclass(frozen=True)
class Progress:
    """How far a phase is; written when nothing else was for a while, so that supervision sees the rank alive."""

    phase: str
    done: int
    total: int | None = None


@event("failure")
@dataclass(frozen=True)
class Failure:
    """Why a rank gave up; `kind` is the family of the reason, as "disk"."""

    kind: str
    message: str


@event("end", once=True)
@dataclass(frozen=True)
class End:
    """The last event of a rank that came through: `reason` is target, last_epoch or steps."""

    reason: str
    t_ns: int = 0


event("environment", once=True)(Environment)


@dataclass(frozen=True, eq=False)
class Windows:
    """The step windows of a rank in columns: the fields of Window, `t_ns` (when it was written) and `size` (steps).

    One entry a window, int64; `warmup` bool, `lr`, `gradient_norm` and `loss_scale` float64 (NaN for None),
    `backward_steps` -1 for None. STEP_COLUMNS and `trained` have one entry a step, windows one after the other:
    `images` and `compute_ns` int64, `loss` float64, not always finite. `trained` are the images of a step that changed
    the weights, 0 of a skipped one.
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
    environment: Environment | None = None
    optimizations: tuple[Optimization, ...] = ()
    retests: tuple[ClockRetest, ...] = ()
    agent_clock: tuple[AgentClock, ...] = ()
    model: Model | None = None
    parameters: tuple[Parameters, ...] = ()
    passes: tuple[Pass, ...] = ()
    health: tuple[Health, ...] = ()
    operators: tuple[OperatorAnswer, ...] = ()
    operators_done: OperatorsDone | None = None

    @property
    def probes_ns(self) -> int:
        """What the operators probe took, which is no part of the run that is timed."""
        done = self.operators_done
        return 0 if done is None else done.t_ns - done.begun_ns

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
