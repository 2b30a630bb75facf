"""The optimization ledger: every speed-up of this trainer, what the benchmark's rules say of it, and whether it is on.

The rules fix model, optimizer, data and initial weights, and leave distributed communication and batch size to be
tuned; whatever else differs from the published way is a declared deviation. So this is where it is declared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping

from evidence import events

if TYPE_CHECKING:
    from trainer.settings import Settings

ALWAYS = "always"
"""The rules leave it to whoever runs the benchmark."""
DECLARED = "declared"
"""Allowed as a declared deviation: it changes how fast something is done, and what is computed only as it says."""
OWN_ROW = "own row"
"""It changes what is computed, so a vendor's table has to have a row for it."""


@dataclass(frozen=True)
class Optimization:
    """A speed-up: `what` is done, `published` what is done instead with it off, `allowed` by the rules when.

    `proof` names the test that shows that results are the same with it on and off, except for what `what` says; ""
    where they are not.
    """

    name: str
    what: str
    published: str
    allowed: str
    proof: str = ""


_LOSSES = "tests/trainer/test_optimizations.py::test_losses_are_the_same_without"
_LOSSES_OF_RANKS = "tests/trainer/test_exchange.py::test_losses_of_two_ranks_are_the_same_without"

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
    ),
    Optimization(
        "persistent_workers",
        "loader workers are started once",
        "loader workers are forked again in every epoch and for every evaluation",
        DECLARED,
        _LOSSES,
    ),
    Optimization(
        "batches_ahead",
        "the next batch is taken from the workers during the step before",
        "the next batch is asked for when the step before is done",
        DECLARED,
        _LOSSES,
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
        "the annotations are read once into arrays on disk, which the ranks of a host map",
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
    ),
    Optimization(
        "scored_once",
        "detections are gathered as arrays and scored once",
        "every batch is scored by itself on its rank, and the parts are gathered as pickles",
        DECLARED,
        "tests/trainer/test_scoring.py::test_scoring_batch_by_batch_gives_the_same_statistics",
    ),
    Optimization(
        "fast_scoring",
        "evaluations are scored by faster-coco-eval, the one that ends a full run by pycocotools too",
        "evaluations are scored by pycocotools",
        DECLARED,
        "tests/trainer/test_scoring.py::test_fast_scoring_gives_the_same_statistics",
    ),
    Optimization(
        "buffers_left_alone",
        "buffers of batch norm are brought together before an evaluation",
        "buffers are broadcast in every forward pass",
        ALWAYS,
        _LOSSES_OF_RANKS,
    ),
    Optimization(
        "gradient_views",
        "what was exchanged is not copied back: gradients become views into the buckets",
        "gradients are copied into the buckets that are exchanged, and back from them",
        ALWAYS,
        _LOSSES_OF_RANKS,
    ),
    Optimization(
        "static_graph",
        "the exchange of gradients is planned after the first step, as every step has the same graph",
        "the exchange is planned from torch's defaults",
        ALWAYS,
        _LOSSES_OF_RANKS,
    ),
)
"""What `--recipe flagperf` switches off, all of it."""

OF_THE_ROW: tuple[Optimization, ...] = (
    Optimization("tf32", "fp32 products use TF32", "fp32 products use fp32", OWN_ROW),
    Optimization("mixed_precision", "the forward pass uses a shorter float", "all of it is fp32", OWN_ROW),
)
"""What the recipe and the precision of a row decide."""

NAMES: tuple[str, ...] = tuple(one.name for one in SWITCHED)


def ledger(settings: Settings, not_here: Mapping[str, str]) -> tuple[events.Optimization, ...]:
    """Return the ledger of a run as its evidence has it.

    `not_here` says of items that this run has no use for, or cannot have, why; with those `on` is false, `why` the
    reason. With those that were switched off, `why` is "switched off".
    """
    row = {"tf32": settings.tf32, "mixed_precision": settings.precision != "fp32"}
    entries = []
    for one in (*SWITCHED, *OF_THE_ROW):
        if one.name in row:
            on, why = row[one.name], ""
        elif not settings.uses(one.name):
            on, why = False, events.SWITCHED_OFF
        else:
            on, why = one.name not in not_here, not_here.get(one.name, "")
        entries.append(events.Optimization(**vars(one), on=on, why=why))
    return tuple(entries)
