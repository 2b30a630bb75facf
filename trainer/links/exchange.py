"""One call of a collective: its buffers between canaries, the call itself, and the check of what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping

import torch
import torch.distributed as dist

from evidence.events.links import ALL_GATHER, ALL_REDUCE, ALL_TO_ALL, BROADCAST, REDUCE_SCATTER, SEND_RECV
from trainer.links.pattern import Pattern

FP32_BYTES = 4
_GUARD = 64  # elements on either side, so that a buffer stays aligned to 256 bytes
_CANARY = -12345.0  # no number of a pattern is negative


@dataclass(frozen=True)
class Case:
    """One collective at one size, in fp32 elements: of the buffer, where ranks have chunks of all of them together."""

    collective: str
    elements: int
    root: int = 0
    unaligned: bool = False
    timed: bool = False
    bucket: bool = False

    @property
    def bytes(self) -> int:
        """The size as nccl-tests counts it."""
        return self.elements * FP32_BYTES


@dataclass(frozen=True)
class Checked:
    """How many elements of a result are wrong, the first of them, whose data it was, and overwritten canaries."""

    wrong: int = 0
    at: int = 0
    found: float = 0.0
    expected: float = 0.0
    sources: tuple[int, ...] = ()
    guard: int = 0


class Exchange:
    """The buffers of one call on one rank; `run` exchanges, `check` says what is wrong afterwards.

    `call` numbers the calls of a run, the same on all ranks. `sent` is what the rank contributes and `received` where
    the result is, the same tensor in an all-reduce and a broadcast.
    """

    peer: int | None = None

    def __init__(self, case: Case, pattern: Pattern, rank: int, ranks: int, call: int, device: torch.device) -> None:
        self.root = case.root
        self.case, self.rank, self.ranks, self.call = case, rank, ranks, call
        self.collective, self.bytes, self.members = case.collective, case.bytes, tuple(range(ranks))
        self.chunk = case.elements // ranks
        self._pattern = pattern
        self._whole = torch.empty(case.elements + 2 * _GUARD + case.unaligned, device=device)
        self._begin = _GUARD + case.unaligned
        kind = _KINDS[case.collective]
        size = self.chunk if kind.receives_chunk else case.elements
        self.received = self._whole[self._begin : self._begin + size]
        self.sent = self.received if kind.in_place else torch.empty(self.chunk * (kind.sends or ranks), device=device)
        self.fill()

    def fill(self) -> None:
        """Write this call's numbers and the canaries."""
        self._whole.fill_(_CANARY)
        kind = _KINDS[self.case.collective]
        if not kind.in_place or self.case.collective == ALL_REDUCE or self.rank == self.case.root:
            self.sent.copy_(self._pattern.of(self.rank, self.call, self.sent.numel()))

    def run(self) -> None:
        """Exchange, or queue it on the device. Raises what torch.distributed raises."""
        _KINDS[self.case.collective].run(self)

    def expected(self) -> torch.Tensor:
        """Return what `received` has to hold."""
        return _KINDS[self.case.collective].expected(self, self._pattern)

    def check(self) -> Checked:
        """Compare bit by bit; waits for the device."""
        begin, size = self._begin, self.received.numel()
        beside = torch.cat([self._whole[:begin], self._whole[begin + size :]])
        guard = int((beside != _CANARY).sum())
        expected = self.expected()
        unlike = self.received.view(torch.int32) != expected.view(torch.int32)
        wrong = int(unlike.sum())
        if not wrong:
            return Checked(guard=guard)
        at = int(unlike.to(torch.uint8).argmax())
        found, should = float(self.received[at]), float(expected[at])
        return Checked(wrong, at, found, should, self._sources(unlike, at, found - should), guard)

    def _sources(self, unlike: torch.Tensor, at: int, difference: float) -> tuple[int, ...]:
        collective = self.case.collective
        if collective == BROADCAST:
            return (self.case.root,)
        if collective in (ALL_GATHER, ALL_TO_ALL):
            return tuple(rank for rank, part in enumerate(unlike.view(self.ranks, -1)) if bool(part.any()))
        place = at + (self.rank * self.chunk if collective == REDUCE_SCATTER else 0)
        source = self._pattern.missing_in(difference, self.call, place)
        return () if source < 0 else (source,)


class RoundTrip:
    """A send to `peer` and back, as seen by one of the two; the lower rank sends first, and checks what comes back."""

    collective = SEND_RECV
    root = 0

    def __init__(self, pattern: Pattern, rank: int, peer: int, call: int, elements: int, device: torch.device) -> None:
        self.rank, self.peer, self.call, self.bytes = rank, peer, call, elements * FP32_BYTES
        self.members = (min(rank, peer), max(rank, peer))
        self._expected = pattern.of(self.members[0], call, elements)
        self.sent = self._expected.clone() if rank < peer else torch.empty(elements, device=device)
        self.received = torch.empty(elements, device=device) if rank < peer else self.sent

    def run(self) -> None:
        """Send and receive, or queue both. Raises what torch.distributed raises."""
        ways = [(dist.isend, self.sent), (dist.irecv, self.received)]
        for operation, tensor in ways if self.rank < self.peer else reversed(ways):
            # As a batch NCCL uses the communicator of the collectives, and makes none for the pair.
            for work in dist.batch_isend_irecv([dist.P2POp(operation, tensor, self.peer)]):
                work.wait()

    def check(self) -> int:
        """Return how many elements came back with other bits; of the higher rank, how many arrived so."""
        return int((self.received.view(torch.int32) != self._expected.view(torch.int32)).sum())


def _gather(exchange: Exchange) -> None:
    gather = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", dist.all_gather)
    if gather is dist.all_gather:  # before torch 1.13
        gather(list(exchange.received.view(exchange.ranks, -1)), exchange.sent)
    else:
        gather(exchange.received, exchange.sent)


def _scatter(exchange: Exchange) -> None:
    scatter = getattr(dist, "reduce_scatter_single", None) or getattr(dist, "reduce_scatter_tensor", None)
    if scatter is None:  # before torch 1.13
        dist.reduce_scatter(exchange.received, list(exchange.sent.view(exchange.ranks, -1)))
    else:
        scatter(exchange.received, exchange.sent)


def _gathered(exchange: Exchange, pattern: Pattern) -> torch.Tensor:
    return torch.cat([pattern.of(rank, exchange.call, exchange.chunk) for rank in range(exchange.ranks)])


def _of_everyone(exchange: Exchange, pattern: Pattern) -> torch.Tensor:
    mine = exchange.rank * exchange.chunk
    return torch.cat([pattern.of(rank, exchange.call, exchange.chunk, mine) for rank in range(exchange.ranks)])


@dataclass(frozen=True)
class _Kind:
    """How a collective is called and what has to come out. `sends`: chunks that a rank sends, 0 for one to each."""

    run: Callable[[Exchange], Any]
    expected: Callable[[Exchange, Pattern], torch.Tensor]
    in_place: bool = False
    receives_chunk: bool = False
    sends: int = 0


_KINDS: Mapping[str, _Kind] = {
    ALL_REDUCE: _Kind(
        lambda exchange: dist.all_reduce(exchange.received),
        lambda exchange, pattern: pattern.sum(exchange.call, exchange.case.elements),
        in_place=True,
    ),
    BROADCAST: _Kind(
        lambda exchange: dist.broadcast(exchange.received, exchange.case.root),
        lambda exchange, pattern: pattern.of(exchange.case.root, exchange.call, exchange.case.elements),
        in_place=True,
    ),
    ALL_GATHER: _Kind(_gather, _gathered, sends=1),
    REDUCE_SCATTER: _Kind(
        _scatter,
        lambda exchange, pattern: pattern.sum(exchange.call, exchange.chunk, exchange.rank * exchange.chunk),
        receives_chunk=True,
    ),
    ALL_TO_ALL: _Kind(lambda exchange: dist.all_to_all_single(exchange.received, exchange.sent), _of_everyone),
}
