"""What a rank sends and has to receive, and what the check says of data that were altered; without any exchange."""

from __future__ import annotations

from typing import Callable

import pytest
import torch

from evidence.events.links import ALL_GATHER, ALL_REDUCE, ALL_TO_ALL, BROADCAST, COLLECTIVES, REDUCE_SCATTER
from trainer.links.exchange import Case, Checked, Exchange
from trainer.links.pattern import Pattern

RANKS = 4
CPU = torch.device("cpu")


def received(collective: str, elements: int = 1024, *, root: int = 1, unaligned: bool = False) -> Exchange:
    """An exchange on rank 2, as a sound collective leaves it."""
    case = Case(collective, elements, root=root, unaligned=unaligned)
    exchange = Exchange(case, Pattern(RANKS, CPU, 0), 2, RANKS, 7, CPU)
    exchange.received.copy_(exchange.expected())
    return exchange


@pytest.mark.parametrize("collective", COLLECTIVES)
@pytest.mark.parametrize("elements", [0, 4, 1020, 300_000])
def test_right_data_are_right(collective: str, elements: int) -> None:
    for unaligned in (False, True):
        assert received(collective, elements, unaligned=unaligned).check() == Checked()


def test_sums_are_exact_and_the_same_in_any_order() -> None:
    pattern = Pattern(16, CPU, 0)
    parts = [pattern.of(rank, 3, 1000) for rank in range(16)]

    forwards, backwards = torch.zeros(1000), torch.zeros(1000)
    for rank in range(16):
        forwards += parts[rank]
        backwards += parts[15 - rank]

    assert torch.equal(forwards, pattern.sum(3, 1000))
    assert torch.equal(forwards, backwards)
    assert float(max(part.max() for part in parts)) > 2**18  # more bits than fp16 or bf16 have


def test_every_call_and_rank_has_data_of_its_own() -> None:
    pattern = Pattern(RANKS, CPU, 0)

    sent = {tuple(pattern.of(rank, call, 8).tolist()) for rank in range(RANKS) for call in range(100)}

    assert len(sent) == RANKS * 100


def test_the_rank_is_named_whose_contribution_a_sum_lacks() -> None:
    exchange = received(ALL_REDUCE)
    exchange.received[100:200] -= Pattern(RANKS, CPU, 0).of(3, 7, 1024)[100:200]

    found = exchange.check()

    assert (found.at, found.sources) == (100, (3,))
    assert 90 < found.wrong <= 100  # some numbers are 0


def test_the_rank_is_named_whose_contribution_is_of_the_call_before() -> None:
    pattern, exchange = Pattern(RANKS, CPU, 0), received(REDUCE_SCATTER)
    mine = slice(2 * 256, 3 * 256)
    exchange.received += pattern.of(1, 6, 1024)[mine] - pattern.of(1, 7, 1024)[mine]

    assert exchange.check().sources == (1,)


@pytest.mark.parametrize("collective", [ALL_GATHER, ALL_TO_ALL])
def test_two_chunks_that_were_swapped_name_their_ranks(collective: str) -> None:
    exchange = received(collective)
    parts = exchange.received.view(RANKS, -1)
    parts[[0, 3]] = parts[[3, 0]]

    assert exchange.check().sources == (0, 3)


@pytest.mark.parametrize(
    "alter",
    [lambda one: one.half().float(), lambda one: one.bfloat16().float(), lambda one: one * float("nan")],
    ids=["fp16", "bf16", "nan"],
)
def test_a_narrower_format_is_found(alter: Callable[[torch.Tensor], torch.Tensor]) -> None:
    exchange = received(BROADCAST)
    exchange.received.copy_(alter(exchange.received))

    found = exchange.check()

    assert found.wrong > 900
    assert found.sources == (1,)


def test_one_flipped_bit_is_found() -> None:
    exchange = received(ALL_REDUCE, 300_001)
    exchange.received.view(torch.int32)[299_999] ^= 1

    found = exchange.check()

    assert (found.wrong, found.at) == (1, 299_999)


@pytest.mark.parametrize("beside", [-1, 1024])
def test_what_is_written_beside_the_buffer_is_found(beside: int) -> None:
    exchange = received(ALL_REDUCE, unaligned=True)
    exchange._whole[exchange._begin + beside] = 0

    assert exchange.check() == Checked(guard=1)
