"""Parts of several ranks make one score, however the images were shared out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.trainer.scoring_data import made_up, plain, truth_of
from trainer.errors import DataError
from trainer.published import scoring
from trainer.published.scoring import BatchScores
from trainer.ranks import HostGroup, Ranks


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


def test_a_truth_of_crowds_only_has_no_score() -> None:
    content, rows = made_up(4, 10, categories=3)
    for one in content["annotations"]:
        one["iscrowd"] = 1
    scores = BatchScores(truth_of(content))
    scores.add_rows([1, 2, 3, 4], rows)

    with pytest.raises(DataError, match="no box that is not a crowd"):
        scores.total(HostGroup(Ranks()))
