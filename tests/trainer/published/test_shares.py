"""Shares in order are torchvision's reference's: strided, filled up, short batches last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainer.data.sampler import shard_in_order


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
