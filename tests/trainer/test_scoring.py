"""Scores of detections: the reference, the fast scorer, and batch by batch as the published runs did."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.scoring_data import LARGE, SMALL, made_up, plain, truth_of
from trainer.data import scoring
from trainer.data.coco import GroundTruth
from trainer.data.scoring import COLUMNS, FAST, REFERENCE, BatchScores, Score, fast_is_absent, score_rows, version
from trainer.errors import DataError
from trainer.ranks import HostGroup, Ranks

WAYS = [pytest.param(True, id="fast"), pytest.param(False, id="reference")]


def box(**changes: Any) -> dict[str, Any]:
    values = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10.0, 10.0, 20.0, 20.0], "area": 400.0, "iscrowd": 0}
    return {**values, **changes}


def truth_with(*boxes: dict[str, Any]) -> GroundTruth:
    return truth_of({"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": list(boxes)})


def by_batches(content: dict, rows: np.ndarray, image_ids: list[int], size: int) -> Score:
    scores = BatchScores(truth_of(content))
    for start in range(0, len(image_ids), size):
        batch = image_ids[start : start + size]
        scores.add_rows(batch, np.concatenate([rows[rows[:, 0] == image_id] for image_id in batch]))
    return scores.total(HostGroup(Ranks()))[0]


@pytest.mark.parametrize("categories", [3, 80])
def test_fast_scoring_gives_the_same_statistics(categories: int) -> None:
    content, rows = made_up(200, 90, categories=categories)

    score = score_rows(rows, truth_of(content), fast=True)

    assert score.stats == pytest.approx(plain(content, rows), rel=0, abs=1e-12)
    assert all(0.05 < one < 0.95 for one in score.stats)
    assert score.scorer == f"{FAST} {version(FAST)}"


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 8), categories=st.integers(1, 4))
def test_fast_scoring_gives_the_same_statistics_whatever_was_found(seed: int, images: int, categories: int) -> None:
    content, rows = made_up(images, 12, categories=categories, seed=seed)
    truth = truth_of(content)
    try:
        expected = score_rows(rows, truth, fast=False).stats
    except DataError:
        with pytest.raises(DataError):
            score_rows(rows, truth, fast=True)
        return

    assert score_rows(rows, truth, fast=True).stats == pytest.approx(expected, rel=0, abs=1e-12)


def test_scoring_batch_by_batch_gives_the_same_statistics() -> None:
    content, rows = made_up(60, 90, categories=20)
    image_ids = np.random.RandomState(1).permutation(60) + 1

    score = by_batches(content, rows, image_ids.tolist(), size=7)

    assert score.stats == pytest.approx(plain(content, rows), rel=0, abs=1e-12)
    assert all(0.05 < one < 0.95 for one in score.stats)
    assert score.scorer == f"{REFERENCE} {version(REFERENCE)}"


def test_an_image_that_was_scored_twice_counts_once() -> None:
    content, rows = made_up(20, 30, categories=5)

    score = by_batches(content, rows, [*range(1, 21), 1, 2, 3], size=20)

    assert score.stats == pytest.approx(plain(content, rows), rel=0, abs=1e-12)


def test_ids_of_any_size_crowds_and_ties_score_as_in_pycocotools() -> None:
    """Image ids up to 2**53 - 1, which pycocotools holds exactly; annotations from id 0 on; every way of scoring."""
    content, rows = made_up(60, 90, categories=20)
    large = 2**53 - 60
    for one in content["images"]:
        one["id"] += large - 1
    for one in content["annotations"]:
        one["image_id"] += large - 1
    theirs = rows.copy()
    theirs[:, 0] += large - 1
    truth = truth_of(content)
    assert truth.image_ids.max() == 2**53 - 1
    assert (truth.ids.min(), truth.crowd.any()) == (0, True)
    assert truth.numbers_of(theirs[:, 0].astype(np.int64)).tolist() == rows[:, 0].tolist()

    expected = plain(content, theirs)

    for fast in (True, False):
        assert score_rows(rows, truth, fast=fast).stats == pytest.approx(expected, rel=0, abs=1e-12)
    assert by_batches(content, rows, list(range(1, 61)), size=7).stats == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("first", [2**53, 2**60, 2**63 - 60])
def test_ids_beyond_float64_score_as_small_ones_do(first: int) -> None:
    content, rows = made_up(60, 20, categories=5)
    expected = plain(content, rows)
    for one in content["images"]:
        one["id"] += first - 1
    for one in content["annotations"]:
        one["image_id"] += first - 1

    for fast in (True, False):
        assert score_rows(rows, truth_of(content), fast=fast).stats == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("fast", WAYS)
@pytest.mark.parametrize("number", [0, 1, 2**53 - 1, 2**53, 2**63 - 1])
def test_an_annotation_of_any_id_is_found(fast: bool, number: int) -> None:
    found = np.array([[1, 10, 10, 20, 20, 0.9, 1]], dtype=float)

    assert score_rows(found, truth_with(box(id=number)), fast=fast).map == pytest.approx(1.0)


@pytest.mark.parametrize("fast", WAYS)
@pytest.mark.parametrize(
    ("area", "in_ranges"),
    [
        (SMALL - 0.5, [True, False, False]),
        (SMALL, [True, True, False]),
        (SMALL + 0.5, [False, True, False]),
        (LARGE, [False, True, True]),
        (LARGE + 0.5, [False, False, True]),
    ],
)
def test_an_area_on_a_bound_belongs_to_both_ranges(area: float, in_ranges: list[bool], fast: bool) -> None:
    found = np.array([[1, 10, 10, 20, 20, 0.9, 1]], dtype=float)

    stats = score_rows(found, truth_with(box(area=area)), fast=fast).stats

    assert [one == pytest.approx(1.0) for one in stats[3:6]] == in_ranges
    assert [one == -1 for one in stats[3:6]] == [not inside for inside in in_ranges]


@pytest.mark.parametrize("fast", WAYS)
def test_no_detection_at_all_scores_zero(fast: bool) -> None:
    assert score_rows(np.zeros((0, COLUMNS)), truth_with(box()), fast=fast).map == 0.0


@pytest.mark.parametrize("fast", WAYS)
def test_a_truth_of_crowds_only_has_no_score(fast: bool) -> None:
    found = np.array([[1, 10, 10, 20, 20, 0.9, 1]], dtype=float)

    with pytest.raises(DataError, match="no box that is not a crowd"):
        score_rows(found, truth_with(box(iscrowd=1)), fast=fast)


@pytest.mark.parametrize("fast", WAYS)
def test_a_detection_of_a_category_that_the_truth_lacks_is_not_counted(fast: bool) -> None:
    found = np.array([[1, 10, 10, 20, 20, 0.9, 1], [1, 10, 10, 20, 20, 0.95, 2]], dtype=float)

    assert score_rows(found, truth_with(box()), fast=fast).map == pytest.approx(1.0)


def test_without_the_fast_scorer_pycocotools_scores(monkeypatch: Any) -> None:
    installed = version(REFERENCE)
    monkeypatch.setattr(scoring, "version", {REFERENCE: installed, FAST: ""}.__getitem__)
    found = np.array([[1, 10, 10, 20, 20, 0.9, 1]], dtype=float)

    score = score_rows(found, truth_with(box()), fast=True)

    assert score.scorer == f"{REFERENCE} {installed}"
    assert fast_is_absent() == f"{FAST} is not installed"


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert version("a-package-that-nobody-has") == ""


def test_scores_differ_by_their_most_different_statistic() -> None:
    one, other = Score([0.5] * 12, 1, "a"), Score([0.5] * 11 + [0.25], 1, "b")

    assert one.difference(other) == other.difference(one) == 0.25


def test_statistics_that_are_no_numbers_do_not_agree() -> None:
    one, other = (Score([0.5] * 5 + [value] + [0.5] * 6, 1, REFERENCE) for value in (0.5, float("nan")))

    assert one.difference(one) == 0
    assert not one.difference(other) <= 1
    assert not other.difference(one) <= 1


def test_a_fast_scorer_that_cannot_be_imported_is_told_and_done_without(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    found = np.array([[1, 10, 10, 20, 20, 0.9, 1]], dtype=float)

    why = fast_is_absent()

    assert score_rows(found, truth_with(box()), fast=True).scorer.startswith(REFERENCE)
    assert why.startswith(f"{FAST} {version(FAST)} cannot be used: ModuleNotFoundError")


def test_a_fast_scorer_of_another_interface_is_told_and_done_without(monkeypatch: Any) -> None:
    monkeypatch.delattr("faster_coco_eval.COCOeval_faster")
    found = np.array([[1, 10, 10, 20, 20, 0.9, 1]], dtype=float)

    why = fast_is_absent()

    assert score_rows(found, truth_with(box()), fast=True).scorer.startswith(REFERENCE)
    assert why.startswith(f"{FAST} {version(FAST)} cannot be used: ImportError")


def test_a_fast_scorer_that_misses_a_box_that_was_found_is_done_without(monkeypatch: Any) -> None:
    fast = scoring._fast
    monkeypatch.setattr(scoring, "_fast", lambda rows, truth: fast(rows[:0], truth))

    why = fast_is_absent()

    assert why == f"{FAST} {version(FAST)} gave a box that was found an AP of 0.0"


def test_a_rank_without_images_adds_nothing(monkeypatch: Any) -> None:
    content, rows = made_up(12, 20, categories=3)
    scores = BatchScores(truth_of(content))
    scores.add_rows(range(1, 13), rows)
    monkeypatch.setattr(scoring, "all_gather_pickles", lambda value, group: [([], None), value, ([], None)])

    score, image_ids = scores.total(HostGroup(Ranks(1, 1, 3, 3)))

    assert score.stats == pytest.approx(plain(content, rows), rel=0, abs=1e-12)
    assert image_ids == [[], list(range(1, 13)), []]


def test_of_an_image_that_two_ranks_looked_at_the_first_ranks_detections_count(monkeypatch: Any) -> None:
    content, rows = made_up(6, 20, categories=3)
    mine, other = BatchScores(truth_of(content)), BatchScores(truth_of(content))
    mine.add_rows([1, 2, 3, 4], rows[rows[:, 0] <= 4])
    other.add_rows([4, 5, 6], np.concatenate([rows[rows[:, 0] > 4], [[4, 0, 0, 1, 1, 0.99, content_label(content)]]]))
    parts: list[Any] = []
    monkeypatch.setattr(scoring, "all_gather_pickles", lambda value, group: parts.append(value) or [value])
    other.total(HostGroup(Ranks()))
    monkeypatch.setattr(scoring, "all_gather_pickles", lambda value, group: [value, parts[0]])

    score, _ = mine.total(HostGroup(Ranks()))

    assert score.stats == pytest.approx(plain(content, rows), rel=0, abs=1e-12)


def content_label(content: dict[str, Any]) -> int:
    return int(content["categories"][0]["id"])


def test_batches_without_a_detection_score_zero() -> None:
    content, _ = made_up(4, 10, categories=3)
    scores = BatchScores(truth_of(content))
    scores.add_rows([1, 2, 3, 4], np.zeros((0, 7)))

    assert scores.total(HostGroup(Ranks()))[0].map == 0.0


def test_a_truth_of_crowds_only_has_no_score_batch_by_batch_either() -> None:
    content, rows = made_up(4, 10, categories=3)
    for one in content["annotations"]:
        one["iscrowd"] = 1
    scores = BatchScores(truth_of(content))
    scores.add_rows([1, 2, 3, 4], rows)

    with pytest.raises(DataError, match="no box that is not a crowd"):
        scores.total(HostGroup(Ranks()))
