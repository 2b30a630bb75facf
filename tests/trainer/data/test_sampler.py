"""Which rank sees which image when."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.sampler import (
    EpochBatches,
    Item,
    aspect_groups,
    plan_epoch,
    plan_flips,
    shard_in_order,
    shard_validation,
)
from trainer.errors import DataError

GROUPS = st.lists(st.integers(0, 6), min_size=1, max_size=150).map(lambda values: np.array(values, dtype=np.int64))
BATCH = st.integers(1, 9)
WORLD = st.integers(1, 5)
SEED = st.integers(0, 2**31)
EPOCH = st.integers(0, 40)


def batches_of(
    groups: np.ndarray, rank: int, world_size: int, *, batch_size: int = 4, seed: int = 0, epoch: int = 0
) -> list[list[Item]]:
    batches = EpochBatches(
        groups, batch_size=batch_size, rank=rank, world_size=world_size, seed=seed, flip_probability=0.5
    )
    batches.set_epoch(epoch)
    return list(batches)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 700), st.integers(1, 700)), min_size=1, max_size=30), k=st.integers(0, 4)
)
@settings(deadline=None)
def test_groups_are_those_of_torchvisions_reference(sizes: list[tuple[int, int]], k: int) -> None:
    widths, heights = np.array(sizes, dtype=np.int32).T

    groups = aspect_groups(widths, heights, k)

    bounds = (2 ** np.linspace(-1, 1, 2 * k + 1)).tolist() if k > 0 else [1.0]
    assert groups.tolist() == [bisect.bisect_right(bounds, width / height) for width, height in sizes]


@given(groups=GROUPS, seed=SEED, epoch=EPOCH, data=st.data())
@settings(deadline=None)
def test_an_epoch_that_is_taken_up_again_goes_on_with_the_batches_that_were_left(
    groups: np.ndarray, seed: int, epoch: int, data: st.DataObject
) -> None:
    batches = EpochBatches(groups, batch_size=1, rank=0, world_size=1, seed=seed, flip_probability=0.5)
    batches.set_epoch(epoch)
    whole, first = list(batches), data.draw(st.integers(0, len(groups)))

    batches.set_epoch(epoch, first)

    assert list(batches) == whole[first:]
    assert len(batches) == len(whole)
    batches.set_epoch(epoch)
    assert list(batches) == whole


def test_an_endless_pass_goes_through_one_epoch_after_the_other() -> None:
    groups = np.zeros(10, dtype=np.int64)
    batches = EpochBatches(groups, batch_size=4, rank=0, world_size=1, seed=0, flip_probability=0.5)
    of_epochs = [batch for epoch in (3, 4, 5) for batch in batches_of(groups, 0, 1, epoch=epoch)]

    batches.set_epoch(3, 1, endless=True)

    assert len(batches) == 2
    assert list(itertools.islice(batches, 5)) == of_epochs[1:]


def test_a_square_image_belongs_above_the_bound_of_one() -> None:
    widths, heights = np.array([100, 128, 99, 101]), np.array([100, 128, 100, 100])

    assert aspect_groups(widths, heights, 3).tolist() == [4, 4, 3, 4]


@given(groups=GROUPS, batch_size=BATCH, world_size=WORLD, seed=SEED, epoch=EPOCH)
@settings(deadline=None)
def test_no_image_is_seen_twice_and_ranks_stay_in_step(
    groups: np.ndarray, batch_size: int, world_size: int, seed: int, epoch: int
) -> None:
    if len(groups) < batch_size * world_size:
        with pytest.raises(DataError):
            batches_of(groups, 0, world_size, batch_size=batch_size)
        return

    ranks = [
        EpochBatches(groups, batch_size=batch_size, rank=rank, world_size=world_size, seed=seed, flip_probability=0.5)
        for rank in range(world_size)
    ]
    for batches in ranks:
        batches.set_epoch(epoch)
    epochs = [list(batches) for batches in ranks]

    seen = Counter(item.position for batches in epochs for batch in batches for item in batch)
    assert {len(batches) for batches in epochs} == {len(ranks[0])}
    assert len(ranks[0]) >= 1
    assert {len(batch) for batches in epochs for batch in batches} == {batch_size}
    assert set(seen.values()) == {1}
    assert set(seen) <= set(range(len(groups)))
    assert len(seen) + ranks[0].unused == len(groups)
    assert ranks[0].unused < batch_size * world_size


@given(groups=GROUPS, batch_size=BATCH, seed=SEED, epoch=EPOCH)
@settings(deadline=None)
def test_batches_that_mix_groups_are_no_more_than_leftovers_force(
    groups: np.ndarray, batch_size: int, seed: int, epoch: int
) -> None:
    plan = plan_epoch(groups, batch_size=batch_size, world_size=1, epoch=epoch, seed=seed)

    mixed = sum(len(set(groups[batch])) > 1 for batch in plan[:, 0])
    leftovers = sum(count % batch_size for count in Counter(groups[plan.ravel()].tolist()).values())
    assert mixed <= leftovers // batch_size


def test_every_rank_and_every_call_makes_the_same_plan_and_every_epoch_another() -> None:
    groups = np.arange(64) % 3

    plans = [plan_epoch(groups, batch_size=4, world_size=2, epoch=epoch, seed=5) for epoch in (0, 0, 1)]
    other_seed = plan_epoch(groups, batch_size=4, world_size=2, epoch=0, seed=6)

    assert plans[0].tolist() == plans[1].tolist()
    assert plans[0].tolist() != plans[2].tolist()
    assert plans[0].tolist() != other_seed.tolist()


def test_a_rare_shape_of_image_is_not_left_out_of_every_epoch() -> None:
    groups = np.array([0] * 29 + [6] * 2)  # 31 images in batches of 4: three of them have no place

    seen = {item.position for epoch in range(30) for batch in batches_of(groups, 0, 1, epoch=epoch) for item in batch}

    assert seen == set(range(31))


def test_no_two_ranks_flip_by_the_same_pattern() -> None:
    groups = np.zeros(1024, dtype=np.int64)

    patterns = {
        (rank, epoch): tuple(item.flip for batch in batches_of(groups, rank, 8, epoch=epoch) for item in batch)
        for rank in range(8)
        for epoch in range(3)
    }

    assert len(set(patterns.values())) == 24
    for pattern in patterns.values():
        assert len(pattern) == 128
        assert 0.25 < sum(pattern) / 128 < 0.75


@given(seed=SEED, epoch=EPOCH, worlds=st.tuples(st.integers(1, 6), st.integers(1, 6)))
@settings(deadline=None, max_examples=30)
def test_whether_an_image_flips_does_not_depend_on_the_number_of_ranks(
    seed: int, epoch: int, worlds: tuple[int, int]
) -> None:
    groups = np.zeros(60, dtype=np.int64)

    decisions = [
        {
            item.position: item.flip
            for rank in range(world_size)
            for batch in batches_of(groups, rank, world_size, seed=seed, epoch=epoch)
            for item in batch
        }
        for world_size in worlds
    ]

    common = set(decisions[0]) & set(decisions[1])
    assert common
    assert {place: decisions[0][place] for place in common} == {place: decisions[1][place] for place in common}


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (1.0, 10000, 10000), (0.5, 4700, 5300)])
def test_flips_come_with_their_probability(probability: float, low: int, high: int) -> None:
    flips = plan_flips(10000, epoch=2, seed=1, probability=probability)

    assert low <= flips.sum() <= high


def test_fewer_images_than_one_batch_per_rank_are_refused_with_the_numbers() -> None:
    with pytest.raises(DataError) as caught:
        batches_of(np.zeros(63, dtype=np.int64), 0, 8, batch_size=8)

    message = str(caught.value)
    assert "63 images" in message
    assert "8 rank(s) x batch size 8 = 64" in message


def test_exactly_one_batch_per_rank_is_one_step() -> None:
    shards = [batches_of(np.arange(64) % 5, rank, 8, batch_size=8) for rank in range(8)]

    assert [len(shard) for shard in shards] == [1] * 8


@given(groups=GROUPS, batch_size=BATCH, world_size=st.integers(1, 12))
@settings(deadline=None)
def test_validation_shards_hold_every_image_exactly_once(groups: np.ndarray, batch_size: int, world_size: int) -> None:
    shards = [
        shard_validation(groups, batch_size=batch_size, rank=rank, world_size=world_size) for rank in range(world_size)
    ]

    seen = [item.position for shard in shards for batch in shard for item in batch]
    loads = [sum(len(batch) for batch in shard) for shard in shards]
    assert sorted(seen) == list(range(len(groups)))
    assert not any(item.flip for shard in shards for batch in shard for item in batch)
    assert all(1 <= len(batch) <= batch_size for shard in shards for batch in shard)
    assert max(loads) - min(loads) <= batch_size


@given(groups=GROUPS, batch_size=BATCH, world_size=WORLD)
@settings(deadline=None)
def test_validation_batches_do_not_mix_orientations(groups: np.ndarray, batch_size: int, world_size: int) -> None:
    for rank in range(world_size):
        for batch in shard_validation(groups, batch_size=batch_size, rank=rank, world_size=world_size):
            assert len({groups[item.position] for item in batch}) == 1


def test_ranks_beyond_the_number_of_batches_have_nothing_to_validate() -> None:
    groups = np.zeros(5, dtype=np.int64)

    shards = [shard_validation(groups, batch_size=4, rank=rank, world_size=4) for rank in range(4)]

    assert [[len(batch) for batch in shard] for shard in shards] == [[4], [1], [], []]


def positions(images: int, batch_size: int, rank: int, world_size: int) -> list[list[int]]:
    batches = shard_in_order(images, batch_size=batch_size, rank=rank, world_size=world_size)
    assert not any(item.flip for batch in batches for item in batch)
    return [[item.position for item in batch] for batch in batches]


def test_one_rank_takes_the_images_in_order() -> None:
    assert positions(5, 2, 0, 1) == [[0, 1], [2, 3], [4]]


def test_ranks_take_turns_and_the_last_share_is_filled_up_with_the_first_images() -> None:
    assert [positions(7, 2, rank, 3) for rank in range(3)] == [[[0, 3], [6]], [[1, 4], [0]], [[2, 5], [1]]]


@given(images=st.integers(1, 40), batch_size=st.integers(1, 5), world_size=st.integers(1, 8))
def test_every_image_is_in_a_share_and_none_twice_in_one(images: int, batch_size: int, world_size: int) -> None:
    shares = [
        [position for batch in positions(images, batch_size, rank, world_size) for position in batch]
        for rank in range(world_size)
    ]

    assert {position for share in shares for position in share} == set(range(images))
    assert all(len(share) == len(set(share)) == len(shares[0]) for share in shares)
