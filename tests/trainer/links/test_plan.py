"""Sizes and pairs of the links probe."""

from __future__ import annotations

import itertools

import pytest

from evidence.events.links import ALL_REDUCE, BROADCAST, COLLECTIVES
from trainer.links.plan import GIB, MIB, cases, largest_bytes, rounds


@pytest.mark.parametrize("members", [1, 2, 3, 4, 7, 8])
def test_every_two_meet_once_and_no_one_is_in_two_pairs_at_a_time(members: int) -> None:
    found = list(rounds(range(members)))

    assert sorted(pair for pairs in found for pair in pairs) == list(itertools.combinations(range(members), 2))
    for pairs in found:
        assert len({rank for pair in pairs for rank in pair}) == 2 * len(pairs)


def test_quick_asks_every_collective_every_root_and_the_buckets() -> None:
    asked = list(cases("quick", 8, [3 * MIB, 28 * MIB], GIB))

    assert {case.collective for case in asked} == set(COLLECTIVES)
    assert {case.root for case in asked if case.collective == BROADCAST} == set(range(8))
    assert [case.bytes for case in asked if case.bucket] == [3 * MIB, 28 * MIB]
    assert {0, 4} <= {case.bytes for case in asked if case.collective == ALL_REDUCE}
    assert any(case.unaligned for case in asked)
    assert all(case.elements % 8 == 0 for case in asked if case.collective not in (ALL_REDUCE, BROADCAST))
    assert max(case.bytes for case in asked) == 28 * MIB


def test_full_asks_from_8_bytes_to_the_largest_size() -> None:
    sizes = [case.bytes for case in cases("full", 2, [], GIB) if case.timed and case.collective == ALL_REDUCE]

    assert sizes[0] == 8
    assert sizes[-1] == GIB
    assert max(case.bytes for case in cases("full", 2, [], 4 * MIB)) <= 4 * MIB


def test_the_largest_size_is_a_gibibyte_or_what_there_is_room_for() -> None:
    assert largest_bytes(80.0, 1) == largest_bytes(None, 1) == GIB
    assert largest_bytes(8.0, 1) == GIB // 2
    assert largest_bytes(32.0, 32) == 32 * MIB
