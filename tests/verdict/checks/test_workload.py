"""The fingerprint beside the rates, and workloads that were another, easier one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from evidence.bundle import read_run
from evidence.verdict import Verdict, Workload
from expected import Recipe
from tests.verdict.bundles import STEADY, Bundle, Plan, a_cell, build
from verdict.checks.invariants import CHECKS, Case
from verdict.checks.workload import DETECTORS, fingerprint
from verdict.judge import judge_run

BENCHMARK = Plan(recipe=replace(Recipe(), epochs=4))


def reasons(bundle: Bundle, plan: Plan, folder: Path) -> tuple[str, ...]:
    verdict = judge_run(read_run(bundle.write(folder)), a_cell(plan, p_core=1e-3))
    return verdict.reasons if verdict.outcome == Verdict.INVALID else ()


def changed(plan: Plan, change: Callable[[dict[str, Any]], None], window: int = 3) -> Bundle:
    bundle = build(plan)
    change(bundle.all("window", rank=1)[window])
    return bundle


def test_the_fingerprint_is_of_the_measured_steps_of_all_ranks(tmp_path: Path) -> None:
    evidence = read_run(build(STEADY).write(tmp_path / "run"))

    found = fingerprint(evidence)

    images = sum(int(rank.windows.measured.images.sum()) for rank in evidence.ranks)
    assert (found.images, found.pixels_per_image, found.proposals_per_image) == (images, 96 * 96, 200)
    assert found.positives_per_image == 3
    assert found.first_loss == pytest.approx(2 + (1 / 30 + 1 / 31) / 2)  # 2 + 1 / (1 + step), steps 20 to 39
    assert found.last_loss == pytest.approx(2 + (1 / 130 + 1 / 131) / 2)  # steps 120 to 139
    assert "9216 padded pixels, 200 proposals, 3.0 positives" in str(found)


def test_nothing_measured_has_no_fingerprint(tmp_path: Path) -> None:
    bundle = build(STEADY)
    for rank in bundle.ranks:
        bundle.drop("window", rank)

    assert fingerprint(read_run(bundle.write(tmp_path / "run"))) is None


def test_steps_without_an_image_have_no_fingerprint(tmp_path: Path) -> None:
    bundle = build(STEADY)
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["images"] = [0] * len(window["images"])

    assert fingerprint(read_run(bundle.write(tmp_path / "run"))) is None


@pytest.mark.parametrize(
    ("plan", "field", "an_image", "words"),
    [
        (Plan(), "padded_pixels", 3071, "found 3071 padded pixels an image, expected 3072 to 9216"),
        (Plan(), "padded_pixels", 9217, "found 9217 padded pixels"),
        (BENCHMARK, "padded_pixels", 400 * 544, "found 217600 padded pixels an image, expected 592296 to 1.80634e+06"),
        (BENCHMARK, "padded_pixels", 1344 * 1344 + 1, "padded pixels"),
        (Plan(), "proposals", 0.9, "proposals an image, expected 1 to 300"),
        (Plan(), "proposals", 301, "found 301 proposals"),
        (Plan(), "sampled", 28, "found 28 sampled boxes an image, expected 28.8 to 32"),
        (Plan(), "sampled", 33, "sampled boxes"),
        (BENCHMARK, "sampled", 100, "found 100 sampled boxes"),
        (Plan(), "positives", 0.4, "positives an image, expected 0.5 to 8"),
        (Plan(), "positives", 8.1, "positives"),
    ],
)
def test_another_workload_is_invalid_and_named(
    plan: Plan, field: str, an_image: float, words: str, tmp_path: Path
) -> None:
    bundle = changed(plan, lambda window: window.update({field: math.ceil(an_image * sum(window["images"]))}))
    if an_image < 1:
        bundle = changed(plan, lambda window: window.update({field: int(an_image * sum(window["images"]))}))

    found = reasons(bundle, plan, tmp_path / "run")

    assert any(words in reason and "rank 1: window of step 30" in reason for reason in found), found


def test_of_several_windows_the_first_is_named(tmp_path: Path) -> None:
    bundle = changed(Plan(), lambda window: window.update(proposals=0), window=3)
    bundle.all("window", rank=1)[5]["proposals"] = 0

    found = reasons(bundle, Plan(), tmp_path / "run")

    assert [reason for reason in found if "proposals" in reason] == [
        "rank 1: window of step 30: found 0 proposals an image, expected 1 to 300: this is another workload"
    ]


@pytest.mark.parametrize(
    ("plan", "field", "an_image"),
    [
        (Plan(), "padded_pixels", 3072),
        (Plan(), "padded_pixels", 9216),
        (BENCHMARK, "padded_pixels", 1344 * 1344),
        (Plan(), "proposals", 1),
        (Plan(), "proposals", 300),
        (Plan(), "positives", 8),
        (Plan(), "sampled", 29),
        (BENCHMARK, "sampled", 512),
    ],
)
def test_the_bounds_belong_to_the_workload(plan: Plan, field: str, an_image: int, tmp_path: Path) -> None:
    bundle = changed(plan, lambda window: window.update({field: an_image * sum(window["images"])}))

    found = reasons(bundle, plan, tmp_path / "run")

    assert not any("this is another workload" in reason for reason in found), found


@pytest.mark.parametrize(("sampled", "sound"), [(1, False), (2, True), (8, True), (9, False)])
def test_a_model_of_ten_proposals_may_have_positives_only(sampled: int, sound: bool, tmp_path: Path) -> None:
    """A quarter of eight samples may be positive, and there may be no negative one to fill up with."""
    plan = replace(STEADY, recipe=replace(STEADY.recipe, model="fasterrcnn_tiny"))
    bundle = build(plan)
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["sampled"] = sampled * sum(window["images"])
    case = Case(read_run(bundle.write(tmp_path / "run")), a_cell(plan), {})

    assert ([*CHECKS["sampled-boxes"].find(case)] == []) == sound


def test_few_images_may_all_be_crowds(tmp_path: Path) -> None:
    plan = replace(Plan(), steps=121)  # the last window of an epoch is one batch of four images
    last = -1

    found = reasons(changed(plan, lambda window: window.update(positives=0), last), plan, tmp_path / "run")

    assert found == ()


def test_a_model_that_nobody_knows_cannot_be_checked(tmp_path: Path) -> None:
    plan = Plan(recipe=replace(Plan().recipe, model="yolo"))

    found = reasons(build(plan), plan, tmp_path / "run")

    assert any("found the model yolo, expected one of fasterrcnn_resnet50_fpn" in reason for reason in found)


@pytest.mark.parametrize(("factor", "diverged"), [(2.9, False), (3.5, True)])
def test_a_loss_that_grows_is_divergence(factor: float, diverged: bool, tmp_path: Path) -> None:
    plan = Plan(steps=80, maps=(0.38,))  # of a longer run the loss has to fall
    bundle = build(plan)
    windows = bundle.all("window")
    for window in windows:
        window["loss"] = [1 + at / 1000 for at in range(len(window["loss"]))]
    for window in windows[-3:]:
        window["loss"] = [loss * factor for loss in window["loss"]]

    found = reasons(bundle, plan, tmp_path / "run")

    assert any("rank 0: the loss went from 1" in reason for reason in found) is diverged


def test_too_few_losses_say_nothing_of_divergence(tmp_path: Path) -> None:
    plan = replace(Plan(), steps=19, maps=(0.1, 0.38))
    bundle = build(plan)
    bundle.all("window")[-1]["loss"][-9:] = [50.0 + at for at in range(9)]

    assert reasons(bundle, plan, tmp_path / "run") == ()


def test_the_benchmarks_detector_is_torchvisions() -> None:
    detector = DETECTORS[Recipe().model]

    assert (detector.min_side, detector.max_side, detector.proposals, detector.sampled) == (800, 1333, 2000, 512)
    assert detector.most_pixels == 1344**2


def test_a_fingerprint_is_a_line_a_person_can_read() -> None:
    shown = str(Workload(100, 1_048_576.4, 987.6, 31.25, 1.2345, 0.5))

    assert shown == "an image: 1048576 padded pixels, 988 proposals, 31.2 positives; loss 1.23 to 0.5"


@pytest.mark.parametrize(
    ("protocol", "sides", "pixels", "sampled", "sound"),
    [
        ("smoke", [128, 171], 128 * 192, 200, True),
        ("smoke", [128, 171], 800 * 1088, 200, False),
        ("smoke", [], 128 * 192, 512, False),
        ("smoke", [], 800 * 1088, 200, False),
        ("steady", [128, 171], 128 * 192, 512, False),
    ],
)
def test_only_a_smoke_run_may_have_another_image_size(
    protocol: str, sides: list[int], pixels: int, sampled: int, sound: bool, tmp_path: Path
) -> None:
    plan = replace(STEADY, recipe=BENCHMARK.recipe, pixels=pixels)
    bundle = build(plan)
    bundle.run["protocol"] = protocol
    for rank in bundle.ranks:
        bundle.one("start", rank).update(protocol=protocol, sides=sides)
        for window in bundle.all("window", rank):
            window["sampled"] = sampled * sum(window["images"])
    case = Case(read_run(bundle.write(tmp_path / "run")), a_cell(plan), {})

    found = [*CHECKS["image-size"].find(case), *CHECKS["sampled-boxes"].find(case)]

    assert (found == []) == sound
