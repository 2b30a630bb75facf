"""Events of training: step windows, epochs, evaluations, and what shows that the weights were trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from evidence.codec import AnyFloat
from evidence.events.declare import event


def evaluation_name(epoch: int) -> str:
    """Return how people call an evaluation: events count epochs from 0, and have -1 before training; people from 1.

    >>> evaluation_name(-1), evaluation_name(0)
    ('evaluation before training', 'evaluation of epoch 1')
    """
    return "evaluation before training" if epoch < 0 else f"evaluation of epoch {epoch + 1}"


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
    them the parameters had gradients, whose norm after the last one was `gradient_norm` (before clipping). Of the first
    elements of each trained tensor `moved` are not as they were before the window; None: not recorded. `skipped` are
    the positions in the window of steps whose update a GradScaler skipped, `loss_scale` is its last scale; None:
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
    moved: int | None = None
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
