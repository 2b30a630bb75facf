"""An epoch is one pass over the data set that the benchmark names, image by image, on all ranks together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from evidence.bundle import read_run
from expected import Recipe
from tests.suite.stored import bundle_of
from tests.support import cell_of
from tests.verdict.bundles import STEADY, Bundle, Plan, a_cell, build
from tests.verdict.checks.breaking import BENCHMARK, Fault, Faults, one, require_named
from verdict.checks.invariants import CHECKS, Case, violations
from verdict.metrics.measure import measure

FULL = Plan(unused=5)
R300 = ("r300", "1x8")


def found_by(check: str, bundle: Bundle, cell: Any, folder: Path) -> tuple[str, ...]:
    evidence = read_run(bundle.write(folder / "run"))
    assert evidence.problems == ()
    return tuple(CHECKS[check].find(Case(evidence, cell, measure(evidence))))


def of_all(event: str, bundle: Bundle, **facts: Any) -> None:
    for rank in bundle.ranks:
        for found in bundle.all(event, rank):
            found.update(facts)


def test_a_sound_run_has_no_violation(tmp_path: Path) -> None:
    for number, plan in enumerate((FULL, STEADY, Plan(restarts=1, resumed=(1, 40)), replace(FULL, unused=0))):
        evidence = read_run(build(plan).write(tmp_path / str(number)))

        assert violations(evidence, a_cell(plan), measure(evidence), backend=plan.backend) == ()


def test_a_run_of_coco_is_sound(tmp_path: Path) -> None:
    evidence = read_run(bundle_of(*R300).write(tmp_path / "run"))

    assert violations(evidence, cell_of(*R300), measure(evidence)) == ()


def test_an_epoch_of_400_steps_of_coco_is_no_epoch(tmp_path: Path) -> None:
    found = found_by("epoch-images", bundle_of(*R300, steps=400), cell_of(*R300), tmp_path)

    assert found == (
        "epoch 1: found 51200 images trained and 18 left out, expected the 117266 of the data set: this was no epoch",
    )


@pytest.mark.parametrize(("unused", "says"), [(8, "found 8 images left out, expected fewer"), (None, "found None")])
def test_more_than_a_batch_of_all_ranks_cannot_be_left_out(unused: Any, says: str, tmp_path: Path) -> None:
    bundle = build(FULL)
    of_all("epoch_begin", bundle, images_unused=unused)

    found = found_by("epoch-images", bundle, a_cell(FULL), tmp_path)

    assert found[0].startswith(f"epoch 1: {says}")


def test_images_of_an_earlier_attempt_count_for_the_epoch_that_it_broke_off_in(tmp_path: Path) -> None:
    plan = Plan(restarts=1, resumed=(1, 40))
    bundle = build(plan)
    of_all("epoch_begin", bundle, from_step=39)

    (found,) = found_by("epoch-images", bundle, a_cell(plan), tmp_path)

    assert found.startswith(
        "epoch 2: found 640 images trained and 312 before the restart and 0 left out, expected the 960"
    )


PASSES: list[tuple[str, Callable[[Bundle], Any]]] = [
    (
        "rank 1: epoch 1: found 459 of 463 images trained on before in the same epoch, expected each once",
        lambda b: b.one("pass", 1).update(repeated=459),
    ),
    (
        "epoch 1: found an image on rank 0 and on rank 1, expected each on one rank",
        lambda b: b.one("pass", 1).update(smallest=b.one("pass")["smallest"]),
    ),
    (
        "epoch 1: found 926 images trained, by their ids not those of the data set, expected each of them once",
        lambda b: b.one("pass", 1).update(id_sum=b.one("pass", 1)["id_sum"] + 1),
    ),
    ("rank 1: found 462 images by id, expected those of its 240 steps", lambda b: b.one("pass", 1).update(images=-1)),
    ("rank 0: found 0 images by id, expected those of its 240 steps", lambda b: b.drop("pass")),
]


@pytest.mark.parametrize(("says", "break_it"), PASSES)
def test_images_that_come_twice_or_on_two_ranks_are_seen(
    says: str, break_it: Callable[[Bundle], Any], tmp_path: Path
) -> None:
    bundle = build(FULL)
    break_it(bundle)

    found = found_by("images-once", bundle, a_cell(FULL), tmp_path)

    assert any(one.startswith(says) for one in found), found


@pytest.mark.parametrize("split", ["train", "val"])
def test_hosts_with_other_annotations_are_seen(split: str, tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.one("data", 1)[split]["annotations_sha256"] = "cd" * 32

    (found,) = found_by("annotations", bundle, a_cell(FULL), tmp_path)

    assert found == (
        f"rank 1: found annotations of {split}2017 with SHA-256 cdcdcdcdcdcd..., expected abababababab... as on "
        "rank 0: copy one file to all hosts"
    )


def test_annotations_without_a_digest_are_no_proof(tmp_path: Path) -> None:
    bundle = build(FULL)
    del bundle.one("data", 1)["val"]["annotations_sha256"]

    (found,) = found_by("annotations", bundle, a_cell(FULL), tmp_path)

    assert found.startswith("rank 1: found no SHA-256 of the annotations of val2017")


@pytest.mark.parametrize(
    ("split", "facts", "says"),
    [
        # person_keypoints_val2017.json, renamed
        ("val", {"boxes_listed": 11_004, "crowds": 227, "categories": 1}, "annotations of val2017: found 11004 annota"),
        ("train", {"images_listed": 118_286}, "annotations of train2017: found 118286 images, expected the 118287"),
        ("train", {"crowds": 0}, "annotations of train2017: found 860001 without crowds, expected the 849949"),
        ("train", {"categories": None}, "annotations of train2017: found None categories, expected the 80"),
    ],
)
def test_other_annotations_than_cocos_instances_are_refused(
    split: str, facts: dict[str, Any], says: str, tmp_path: Path
) -> None:
    bundle = bundle_of(*R300)
    for rank in bundle.ranks:
        bundle.one("data", rank)[split].update(facts)

    found = found_by("annotations", bundle, cell_of(*R300), tmp_path)

    assert found[0].startswith(f"rank 0: {says}"), found


def test_a_data_set_of_ones_own_is_not_held_against_coco(tmp_path: Path) -> None:
    plan = replace(FULL, recipe=replace(Recipe(), num_classes=4))

    assert found_by("annotations", build(plan), a_cell(plan), tmp_path) == ()


FAULTS = Faults(
    [
        Fault(
            "data-set",
            "rank 1: found train_images 10, val_images None, expected train_images 926, val_images 128 as on rank 0",
            one("data", 1, train={"images": 10}, val=None),
        ),
        Fault(
            "data-set", "rank 0: found 926 images to train on, expected 117266 of COCO 2017", lambda b: None, BENCHMARK
        ),
    ]
)


@FAULTS.add("data-set", "rank 0: found 128 images to evaluate, expected 5000 of COCO 2017", BENCHMARK)
def validation_is_a_part_of_coco(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("data", rank)["train"]["images"] = 117_266


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_makes_the_run_invalid_and_is_named(fault: Fault, tmp_path: Path) -> None:
    require_named(fault, tmp_path)
