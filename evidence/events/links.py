"""What the links between devices and hosts did: the events of the links probe."""

from __future__ import annotations

from dataclasses import dataclass

from evidence.codec import AnyFloat
from evidence.events.declare import event

ALL_REDUCE, BROADCAST, ALL_GATHER = "all-reduce", "broadcast", "all-gather"
REDUCE_SCATTER, ALL_TO_ALL, SEND_RECV = "reduce-scatter", "all-to-all", "send-recv"
COLLECTIVES = (ALL_REDUCE, BROADCAST, ALL_GATHER, REDUCE_SCATTER, ALL_TO_ALL)

DEVICES, HOSTS = "devices", "hosts"
"""A pair is of two devices of a host, or of two hosts."""


def bus_factor(collective: str, ranks: int) -> float:
    """Return bus bandwidth over algorithm bandwidth, as nccl-tests defines it (doc/PERFORMANCE.md there).

    >>> bus_factor("all-reduce", 8), bus_factor("all-gather", 8), bus_factor("broadcast", 8)
    (1.75, 0.875, 1.0)
    """
    if collective in (BROADCAST, SEND_RECV):
        return 1.0
    share = (ranks - 1) / ranks
    return 2 * share if collective == ALL_REDUCE else share


def shown_bytes(count: int) -> str:
    """Return a size in words.

    >>> shown_bytes(8), shown_bytes(4084), shown_bytes(1 << 20), shown_bytes(55951770)
    ('8 B', '4084 B', '1 MiB', '53.36 MiB')
    """
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count / (1 << 20):.2f} MiB" if count >= 1 << 20 else f"{count} B"


@event("collective")
@dataclass(frozen=True)
class CollectiveResult:
    """What one rank received in the calls of one collective at one size, and how long they took.

    `bytes` is the size as nccl-tests counts it: of the buffer, of gathered, scattered and exchanged data that of all
    ranks' chunks together. `layout` is "unaligned" for a buffer that begins 4 bytes beside a boundary. Of the elements
    of all `calls`, `wrong` have other bits than they must have; `at` is the index of the first one, with the values
    `found` and `expected`, and `sources` are the ranks whose data are wrong, as far as that shows. `guard` counts
    elements beside the buffer that were overwritten. `times_ns` has the time of a call in each sample, by the step
    timer; () where it was not timed. `bucket`: whether DDP exchanges gradients at this size. `error`: why there is no
    result, else "".
    """

    collective: str
    bytes: int
    root: int = 0
    layout: str = ""
    calls: int = 0
    wrong: int = 0
    at: int = 0
    found: AnyFloat = 0.0
    expected: AnyFloat = 0.0
    sources: tuple[int, ...] = ()
    guard: int = 0
    times_ns: tuple[int, ...] = ()
    bucket: bool = False
    error: str = ""

    @property
    def name(self) -> str:
        """Which case it is, as in "broadcast of 4084 B from rank 3, unaligned"."""
        root = f" from rank {self.root}" if self.collective == BROADCAST else ""
        return f"{self.collective} of {shown_bytes(self.bytes)}{root}" + (f", {self.layout}" if self.layout else "")


@event("link_pair")
@dataclass(frozen=True)
class PairResult:
    """Send and receive between this rank and `peer`, the higher one; `times_ns` are of one way, half of a round trip.

    `between` is "devices" (of one host) or "hosts". `wrong`, of the elements that came back.
    """

    peer: int
    bytes: int
    between: str
    calls: int
    wrong: int
    times_ns: tuple[int, ...]
    error: str = ""


@event("links", once=True)
@dataclass(frozen=True)
class LinksDone:
    """The links probe, which began at `begun_ns`, has ended: its `collective` and `link_pair` events, and what it took.

    `amount` is how much was asked (quick, full). `buckets` are the sizes in bytes of DDP's buckets for this model.
    `not_asked` names what the budget of `budget_s` seconds left out.
    """

    amount: str
    collectives: int
    pairs: int
    begun_ns: int
    seconds: float
    budget_s: float
    buckets: tuple[int, ...] = ()
    not_asked: tuple[str, ...] = ()
    t_ns: int = 0
