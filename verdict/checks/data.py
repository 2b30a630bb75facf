"""Checks of the data set: which one it is, and that an epoch is one pass over it."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.events.setup import DataSet, Split
from evidence.events.training import Pass
from expected import Recipe
from expected.metrics import COCO_TRAIN_IMAGES
from verdict.checks.invariants import Case, check

COCO_VAL_IMAGES = 5_000

COCO: Mapping[str, Mapping[str, int]] = {
    "train2017": {"images": 118_287, "annotations": 860_001, "without crowds": 849_949, "categories": 80},
    "val2017": {"images": 5_000, "annotations": 36_781, "without crowds": 36_335, "categories": 80},
}
"""What the annotation files of COCO 2017 list."""

_HASH_VALUES = 2**61  # of the ids of images, as evidence.events.Pass has them


@check("data-set")
def data_set_is_the_benchmarks(case: Case) -> Iterator[str]:
    """All ranks read the same data set; under the benchmark's recipe, COCO 2017, whole."""
    read = _data_sets(case)
    for rank, data in read:
        if data.counts != read[0][1].counts:
            yield f"rank {rank}: found {_images(data)}, expected {_images(read[0][1])} as on rank {read[0][0]}"
    if not _trains_on_coco(case):
        return
    for rank, data in read[:1]:
        if data.train_images != COCO_TRAIN_IMAGES:
            found = data.train_images
            yield f"rank {rank}: found {found} images to train on, expected {COCO_TRAIN_IMAGES} of COCO 2017"
        if data.val_images not in (None, COCO_VAL_IMAGES):
            yield f"rank {rank}: found {data.val_images} images to evaluate, expected {COCO_VAL_IMAGES} of COCO 2017"


@check("annotations")
def annotations_are_the_benchmarks(case: Case) -> Iterator[str]:
    """All hosts read the same annotation files; under the benchmark's recipe, COCO 2017's own by their counts."""
    read = [(rank.rank, data) for rank in case.evidence.ranks if rank.shows_work for data in rank.data]
    for rank, data in read:
        for name, split in data.splits.items():
            first = read[0][1].splits.get(name)
            if split.annotations_sha256 is None:
                yield f"rank {rank}: found no SHA-256 of the annotations of {name}, expected that of the file"
            elif first is not None and split.annotations_sha256 != first.annotations_sha256:
                yield (
                    f"rank {rank}: found annotations of {name} with SHA-256 {split.annotations_sha256[:12]}..., "
                    f"expected {str(first.annotations_sha256)[:12]}... as on rank {read[0][0]}: copy one file to all "
                    "hosts"
                )
    for rank, data in read[:1] if _trains_on_coco(case) else ():
        for name, split in data.splits.items():
            for what, found in listed(split).items():
                if found != COCO[name][what]:
                    yield (
                        f"rank {rank}: annotations of {name}: found {found} {what}, expected the {COCO[name][what]} of "
                        "COCO 2017's instances: this is another file"
                    )


@check("epoch-images")
def an_epoch_is_the_data_set(case: Case) -> Iterator[str]:
    """Each epoch's images on all ranks and those left out to fill whole batches are the data set's."""
    ranks = [rank for rank in case.evidence.ranks if rank.data]
    if not ranks or ranks[0].data[0].train_images < 1:
        return
    expected, batch = ranks[0].data[0].train_images, case.cell.batch_size * case.cell.topology.ranks
    for place, epoch in enumerate(ranks[0].epochs):
        where = f"epoch {epoch.epoch + 1}:"
        trained = sum(rank.epochs[place].images for rank in ranks if place < len(rank.epochs))
        before, unused = (epoch.from_step or 0) * batch, epoch.images_unused
        if unused is None or not 0 <= unused < batch:
            yield f"{where} found {unused} images left out, expected fewer than one batch of all ranks, {batch}"
        elif before + trained + unused != expected:
            earlier = f" and {before} before the restart" if before else ""
            yield (
                f"{where} found {trained} images trained{earlier} and {unused} left out, expected the {expected} of "
                "the data set: this was no epoch"
            )


@check("images-once")
def each_image_comes_once(case: Case) -> Iterator[str]:
    """In a pass over the data set each image came once, on one rank; a whole pass had them all."""
    ranks = [rank for rank in case.evidence.ranks if rank.shows_work and rank.train_end is not None and rank.data]
    for rank in ranks:
        found, steps = sum(one.images for one in rank.passes), rank.windows.steps
        if found != int(rank.windows.images.sum()) or sum(one.steps for one in rank.passes) != steps:
            yield f"rank {rank.rank}: found {found} images by id, expected those of its {steps} steps"
        for one in rank.passes:
            if one.repeated:
                yield (
                    f"rank {rank.rank}: epoch {one.epoch + 1}: found {one.repeated} of {one.images} images trained on "
                    "before in the same epoch, expected each once"
                )
                break
    for place, first in enumerate(ranks[0].passes if ranks else ()):
        beside = [(rank, rank.passes[place]) for rank in ranks if place < len(rank.passes)]
        problem = _shared(beside) or _incomplete(case, ranks[0].data[0], first, [one for _, one in beside])
        if problem:
            yield f"epoch {first.epoch + 1}: {problem}"
            return


def annotation_digests(evidence: Evidence) -> dict[str, str]:
    """The SHA-256 of the annotation files that the ranks read, by split; {} for runs that did not record it."""
    found: dict[str, str] = {}
    for rank in evidence.ranks:
        for data in rank.data:
            for name, split in data.splits.items():
                if split.annotations_sha256 is not None:
                    found.setdefault(name, split.annotations_sha256)
    return found


def listed(split: Split) -> dict[str, int | None]:
    """What the annotation file of a split lists, in the words of COCO."""
    annotations, crowds = split.boxes_listed, split.crowds
    return {
        "images": split.images_listed,
        "annotations": annotations,
        "without crowds": None if annotations is None or crowds is None else annotations - crowds,
        "categories": split.categories,
    }


def _shared(beside: Sequence[tuple[RankEvidence, Pass]]) -> str:
    """Which two ranks trained on the same image, of those that are compared; "" without any."""
    owners: dict[int, int] = {}
    for rank, one in beside:
        for image in one.smallest:
            if owners.setdefault(image, rank.rank) != rank.rank:
                return (
                    f"found an image on rank {owners[image]} and on rank {rank.rank}, expected each on one rank: they "
                    "do not share the data set out"
                )
    return ""


def _incomplete(case: Case, data: DataSet, first: Pass, beside: Sequence[Pass]) -> str:
    """Why a pass that had as many images as the data set did not have each of them once; "" if it did."""
    images = sum(one.images for one in beside)
    if first.from_step or images + first.unused != data.train_images:
        return ""  # not a whole pass; an epoch's number of images is another check's
    found = (sum(one.id_sum for one in beside) + first.unused_sum) % _HASH_VALUES
    if found == data.train.id_sum:
        return ""
    return f"found {images} images trained, by their ids not those of the data set, expected each of them once"


def _data_sets(case: Case) -> list[tuple[int, DataSet]]:
    return [(rank.rank, data) for rank in case.evidence.ranks for data in rank.data]


def _trains_on_coco(case: Case) -> bool:
    recipe, benchmark = case.cell.recipe, Recipe()
    own = (recipe.model, recipe.num_classes) != (benchmark.model, benchmark.num_classes)
    return not case.evidence.simulated and not own and case.protocol != "smoke"


def _images(data: DataSet) -> str:
    shown: dict[str, Any] = {
        name: value for name, value in data.counts.items() if value is not None or not name.endswith("_listed")
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())
