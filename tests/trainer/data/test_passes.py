"""What a rank says of the images that it trained on shows whether all ranks together made a pass over the data set."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.events.training import Pass
from trainer.data.passes import HASH_BITS, Passes, hashes, id_sum
from trainer.data.sampler import EpochBatches

IDS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=60, unique=True)


def plan_of(images: int, rank: int = 0, world_size: int = 1, batch_size: int = 2) -> EpochBatches:
    groups = np.zeros(images, dtype=np.int64)
    return EpochBatches(groups, batch_size=batch_size, rank=rank, world_size=world_size, seed=3, flip_probability=0.5)


def fed(plan: EpochBatches, ids: np.ndarray, epochs: Iterable[int], first: int = 0) -> Passes:
    """Passes that were given the batches of these epochs."""
    passes = Passes(plan, ids, min(epochs), first)
    for epoch in epochs:
        plan.set_epoch(epoch, first if epoch == min(epochs) else 0)
        for batch in plan:
            passes.add(ids[[item.position for item in batch]])
    return passes


@given(images=st.integers(6, 40), world_size=st.integers(1, 3), epoch=st.integers(0, 9))
def test_the_sums_of_all_ranks_and_of_what_is_left_out_are_that_of_the_data_set(
    images: int, world_size: int, epoch: int
) -> None:
    ids = np.arange(images, dtype=np.int64) * 7 + 1
    ranks = []
    for rank in range(world_size):
        ranks += fed(plan_of(images, rank, world_size), ids, [epoch]).completed()

    assert len(ranks) == world_size
    assert sum(one.images for one in ranks) + ranks[0].unused == images
    assert (sum(one.id_sum for one in ranks) + ranks[0].unused_sum) % 2**HASH_BITS == id_sum(ids)
    assert {one.repeated for one in ranks} == {0}
    assert not set(ranks[0].smallest).intersection(*(one.smallest for one in ranks[1:])) or world_size == 1


@given(ids=IDS, data=st.data())
def test_sums_of_other_ids_or_of_one_twice_are_others(ids: list[int], data: st.DataObject) -> None:
    whole = id_sum(np.array(ids))
    place = data.draw(st.integers(0, len(ids) - 1))
    twice = [*ids[:place], *ids[place + 1 :], ids[place - 1]]

    assert 0 <= whole < 2**HASH_BITS
    assert id_sum(np.array(ids[::-1])) == whole
    assert id_sum(np.array(ids[1:], dtype=np.int64)) != whole
    assert id_sum(np.array(twice)) != whole or len(ids) == 1


def test_the_hash_is_splitmix64() -> None:
    # Its first two outputs from the seed 0: 16294208416658607535 and 7960286522194355700.
    assert hashes(np.array([0])).tolist() == [16294208416658607535 >> 3]
    assert (hashes(np.array([0x9E3779B97F4A7C15 - 2**64], dtype=np.int64))).tolist() == [7960286522194355700 >> 3]


def test_passes_end_within_a_window_too_and_the_last_may_be_a_part() -> None:
    ids = np.arange(7, dtype=np.int64)
    plan = plan_of(7)
    passes = fed(plan, ids, [0, 1])
    passes.add(ids[:2])

    found = [*passes.completed(), *passes.rest()]

    assert [(one.epoch, one.from_step, one.steps, one.images, one.unused) for one in found] == [
        (0, 0, 3, 6, 1),
        (1, 0, 3, 6, 1),
        (2, 0, 1, 2, 1),
    ]
    assert not [*passes.completed(), *passes.rest()]


@pytest.mark.parametrize(("counts", "found"), [((0, 2, 1), 3), ((0, None, 1), None)])
def test_images_with_an_exif_orientation_are_counted_where_that_was_looked_at(
    counts: tuple[int | None, ...], found: int | None
) -> None:
    ids = np.arange(6, dtype=np.int64)
    passes = Passes(plan_of(6), ids)
    for count in (*counts, 1):
        passes.add(ids[:2], count)

    assert [one.exif_oriented for one in (*passes.completed(), *passes.rest())] == [found, 1]


@pytest.mark.parametrize(("epoch", "first", "expected"), [(2, 1, (2, 1, 2)), (2, 3, (3, 0, 3))])
def test_a_resumed_pass_begins_where_the_checkpoint_was(epoch: int, first: int, expected: tuple[int, ...]) -> None:
    ids = np.arange(6, dtype=np.int64)
    epochs = [epoch] if first < 3 else [epoch, epoch + 1]

    (found,) = fed(plan_of(6), ids, epochs, first).completed()

    assert (found.epoch, found.from_step, found.steps) == expected


def test_one_batch_for_ever_is_counted_as_repeated() -> None:
    ids = np.arange(20, dtype=np.int64)
    passes = Passes(plan_of(20), ids)
    for _ in range(10):
        passes.add(ids[:2])

    (found,) = passes.completed()

    assert (found.images, found.repeated) == (20, 18)
    assert found == replace(found, smallest=tuple(sorted(hashes(ids[:2]).tolist())))


def test_an_event_has_no_more_than_sixteen_hashes() -> None:
    ids = np.arange(1000, dtype=np.int64)

    (found,) = fed(plan_of(1000), ids, [0]).completed()

    assert isinstance(found, Pass)
    assert list(found.smallest) == sorted(hashes(ids).tolist())[:16]
