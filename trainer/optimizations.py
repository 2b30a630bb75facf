"""The trainer's optimizations: what each does, what the published runs do instead, and when a run cannot have it.

The benchmark's rules fix model, optimizer, data and initial weights and leave distributed communication and batch size
free; any other difference from the published runs is a declared deviation, and it is declared here. To add one, add an
`Optimization` to SWITCHED, ask `in_use` or `Settings.uses` where it acts, and renew docs/performance.md with
`python -m trainer.docs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Mapping

from evidence.events import setup

if TYPE_CHECKING:
    from trainer.devices import Backend
    from trainer.settings import Settings

ALWAYS = "always"
"""The rules leave it free."""
DECLARED = "declared"
"""Allowed as a declared deviation: it changes how fast something is done; results differ only as `what` says."""
OWN_ROW = "own row"
"""It changes what is computed, so a vendor's table has to have a row for it."""


def _possible(settings: Settings, backend: Backend, world_size: int) -> str:
    return ""


def _without_workers(settings: Settings, backend: Backend, world_size: int) -> str:
    return "" if settings.workers else "the recipe has no loader workers"


def _without_copy_stream(settings: Settings, backend: Backend, world_size: int) -> str:
    if not backend.copies_beside:
        return f"the {backend.name} backend has no stream beside the one that computes"
    if settings.workers and not settings.uses("batches_ahead"):
        return "no batch is there before the step before it is over"
    return _without_workers(settings, backend, world_size)


def _one_rank(settings: Settings, backend: Backend, world_size: int) -> str:
    return "there is one rank, which exchanges nothing" if world_size == 1 else ""


def _untried_ddp(settings: Settings, backend: Backend, world_size: int) -> str:
    if world_size > 1 and backend.plain_ddp:
        return f"untested with the {backend.name} backend's framework"
    return _one_rank(settings, backend, world_size)


def _no_evaluation(settings: Settings, backend: Backend, world_size: int) -> str:
    return "nothing is evaluated" if settings.protocol == "steady" else ""


def _scored_by_batch(settings: Settings, backend: Backend, world_size: int) -> str:
    by_batch = "" if settings.uses("scored_once") else "every batch is scored by itself, which pycocotools does"
    return _no_evaluation(settings, backend, world_size) or by_batch


@dataclass(frozen=True)
class Optimization:
    """One speed-up: `what` is done, `published` what is done instead with it off, `allowed` by the rules when.

    `proof` names the test that shows that results are the same with it on and off, except for what `what` says; ""
    where results differ. `absent(settings, backend, world_size)` returns why a run cannot have it, "" if it can.
    """

    name: str
    what: str
    published: str
    allowed: str
    proof: str = ""
    absent: Callable[[Settings, Backend, int], str] = _possible


_LOSSES = "tests/trainer/test_optimizations.py::test_losses_are_the_same_without"
_LOSSES_OF_RANKS = "tests/trainer/test_ddp.py::test_losses_of_two_ranks_are_the_same_without"

SWITCHED: tuple[Optimization, ...] = (
    Optimization(
        "boxes_only",
        "boxes are all that is read of an annotation",
        "polygons are decoded into masks, which are mirrored, copied to the device and resized there",
        DECLARED,
        _LOSSES,
    ),
    Optimization(
        "bytes_on_device",
        "images travel as bytes, in memory that is used again, and become numbers on the device",
        "images become float32 in the loader, four times the bytes",
        DECLARED,
        _LOSSES,
    ),
    Optimization(
        "overlapped_copies",
        "batches are copied from pinned memory beside the step before",
        "pageable copies that block, between two steps",
        DECLARED,
        "tests/trainer/test_optimizations.py::test_losses_are_the_same_when_copies_overlap",
        _without_copy_stream,
    ),
    Optimization(
        "persistent_workers",
        "loader workers are started once",
        "loader workers are forked again in every epoch and for every evaluation",
        DECLARED,
        _LOSSES,
        _without_workers,
    ),
    Optimization(
        "batches_ahead",
        "the next batch is taken from the workers during the step before",
        "the next batch is asked for when the step before is done",
        DECLARED,
        _LOSSES,
        _without_workers,
    ),
    Optimization(
        "losses_by_window",
        "losses stay on the device until a window of steps is over",
        "each loss is read in every step, which waits for the device",
        DECLARED,
        _LOSSES,
    ),
    Optimization(
        "cached_index",
        "the annotations are read once into arrays on disk, which the ranks of a host read",
        "every rank parses the annotation files",
        DECLARED,
        _LOSSES,
    ),
    Optimization(
        "grouped_evaluation",
        "images of similar shape are evaluated together, each once over all ranks; less padding moves mAP a little",
        "images are evaluated in the order of their ids, of all shapes in one batch, the last share filled up",
        DECLARED,
        "tests/trainer/test_optimizations.py::test_map_is_the_same_without_grouping",
        _no_evaluation,
    ),
    Optimization(
        "scored_once",
        "detections are gathered as arrays and scored once",
        "every batch is scored by itself on its rank, and the parts are gathered as pickles",
        DECLARED,
        "tests/trainer/test_scoring.py::test_scoring_batch_by_batch_gives_the_same_statistics",
        _no_evaluation,
    ),
    Optimization(
        "fast_scoring",
        "evaluations are scored by faster-coco-eval, the one that ends a full run by pycocotools too",
        "evaluations are scored by pycocotools",
        DECLARED,
        "tests/trainer/test_scoring.py::test_fast_scoring_gives_the_same_statistics",
        _scored_by_batch,
    ),
    Optimization(
        "buffers_left_alone",
        "buffers of batch norm are brought together before an evaluation",
        "buffers are broadcast in every forward pass",
        ALWAYS,
        _LOSSES_OF_RANKS,
        _one_rank,
    ),
    Optimization(
        "gradient_views",
        "what was exchanged is not copied back: gradients become views into the buckets",
        "gradients are copied into the buckets that are exchanged, and back from them",
        ALWAYS,
        _LOSSES_OF_RANKS,
        _untried_ddp,
    ),
    Optimization(
        "static_graph",
        "the exchange of gradients is planned after the first step, as every step has the same graph",
        "the exchange is planned from torch's defaults",
        ALWAYS,
        _LOSSES_OF_RANKS,
        _untried_ddp,
    ),
)
"""What `--recipe flagperf` switches off, all of it."""

OF_THE_ROW: tuple[Optimization, ...] = (
    Optimization("tf32", "fp32 products use TF32", "fp32 products use fp32", OWN_ROW),
    Optimization(
        "deterministic", "cuDNN uses deterministic algorithms only", "cuDNN uses any of its algorithms", OWN_ROW
    ),
    Optimization(
        "cudnn_benchmark",
        "cuDNN measures its algorithms for each shape and takes the fastest",
        "cuDNN chooses its algorithms by heuristics",
        OWN_ROW,
    ),
    Optimization("mixed_precision", "the forward pass uses a shorter float", "all of it is fp32", OWN_ROW),
)
"""What the recipe and the precision of a row decide."""

NAMES: tuple[str, ...] = tuple(one.name for one in SWITCHED)


def unavailable(settings: Settings, backend: Backend, world_size: int) -> dict[str, str]:
    """Return why a run cannot have some of the optimizations, by name, as far as its settings decide it."""
    reasons = {one.name: one.absent(settings, backend, world_size) for one in SWITCHED}
    return {name: why for name, why in reasons.items() if why}


def in_use(name: str, settings: Settings, backend: Backend, world_size: int) -> bool:
    """Return whether an optimization is wanted and can be had. Raises SettingsError for an unknown name."""
    return settings.uses(name) and name not in unavailable(settings, backend, world_size)


def ledger(settings: Settings, absent: Mapping[str, str]) -> tuple[setup.Optimization, ...]:
    """Return the ledger of a run for its evidence.

    `absent` has why this run cannot have an optimization, by name. `on` is false for these, and for those switched off
    by the settings, whose `why` is "switched off".
    """
    row = {name: getattr(settings, name) for name in ("tf32", "deterministic", "cudnn_benchmark")}
    row["mixed_precision"] = settings.precision not in ("fp32", "tf32")
    entries = []
    for one in (*SWITCHED, *OF_THE_ROW):
        why = absent.get(one.name, "") if one.name in row or settings.uses(one.name) else setup.SWITCHED_OFF
        facts = {name: getattr(one, name) for name in ("name", "what", "published", "allowed", "proof")}
        entries.append(setup.Optimization(**facts, on=row.get(one.name, not why), why=why))
    return tuple(entries)
