"""Events of a rank's set-up: who it is, on which device, with which data, network and optimizations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from evidence.events.declare import event

HOST_BACKENDS = ("cpu",)
"""Where a device is a share of the machine: its memory is that of the rank's process, and it has no name."""

SWITCHED_OFF = "switched off"
"""`Optimization.why` of an optimization that the user switched off."""


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
