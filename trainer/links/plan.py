"""What the links probe asks: the sizes of each collective, DDP's buckets among them, and which pairs exchange."""

from __future__ import annotations

from inspect import signature
from typing import Iterator, Sequence

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from evidence.events.links import ALL_REDUCE, BROADCAST, COLLECTIVES
from trainer.links.exchange import FP32_BYTES, Case
from trainer.settings import FULL, QUICK

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BUDGET_S = {QUICK: 20.0, FULL: 240.0}
PAIR_BYTES = {QUICK: MIB, FULL: 64 * MIB}

_ODD, _LONGER = 1021, 65_537  # elements
_FIRST_BUCKET, _BUCKET = MIB, 25 * MIB  # torch.distributed._DEFAULT_FIRST_BUCKET_BYTES, DDP's bucket_cap_mb
_QUICK_SIZES = (8, 64 * KIB, MIB)
_OTHERS = {QUICK: (MIB,), FULL: (MIB, 16 * MIB, 256 * MIB)}
_SHARE_OF_MEMORY = 16  # of a rank's memory a buffer takes at most the sixteenth part


def bucket_bytes(trained: Sequence[torch.Tensor], bucket_mb: int | None) -> tuple[int, ...]:
    """Return the bytes of DDP's gradient buckets, the first one that is exchanged first.

    DDP orders parameters as their gradients come, which is the reverse of their registration unless branches of the
    graph end otherwise; sizes are cut as it does itself.
    """
    ordered = list(reversed(trained))
    cap = _BUCKET if bucket_mb is None else bucket_mb * MIB
    # Since torch 2 the first bucket is small only where no cap is given.
    is_small = bucket_mb is None or signature(DistributedDataParallel).parameters["bucket_cap_mb"].default is not None
    limits = [_FIRST_BUCKET if is_small else cap, cap]
    found = dist._compute_bucket_assignment_by_size(ordered, limits)
    buckets = found[0] if isinstance(found, tuple) else found
    return tuple(sum(ordered[at].numel() * FP32_BYTES for at in bucket) for bucket in buckets)


def cases(amount: str, ranks: int, buckets: Sequence[int], most: int) -> Iterator[Case]:
    """Yield what is asked, up to `most` bytes but for the buckets; the cheap and the decisive first, as a budget may
    end it anywhere.
    """
    for collective in COLLECTIVES:
        for elements in (1, _ODD, _LONGER):
            yield Case(collective, _whole(collective, elements, ranks))
        yield Case(collective, _whole(collective, _ODD, ranks), unaligned=True)
        # Gathering nothing ends torch 1.12's gloo in a division by zero.
        if collective in (ALL_REDUCE, BROADCAST) or hasattr(dist, "all_gather_into_tensor"):
            yield Case(collective, 0)
    for root in range(1, ranks):
        yield Case(BROADCAST, _ODD, root=root)
    for size in buckets:
        yield Case(ALL_REDUCE, size // FP32_BYTES, timed=True, bucket=True)
    for size in _sweep(most) if amount == FULL else _QUICK_SIZES:
        yield Case(ALL_REDUCE, size // FP32_BYTES, timed=True)
    for collective in COLLECTIVES[1:]:
        for size in _OTHERS[amount]:
            if size <= most:
                yield Case(collective, _whole(collective, size // FP32_BYTES, ranks, up=False), timed=True)


def _whole(collective: str, elements: int, ranks: int, *, up: bool = True) -> int:
    """Elements such that every rank has a chunk: so many each, or as many as fit."""
    if collective in (ALL_REDUCE, BROADCAST):
        return elements
    return elements * ranks if up else elements // ranks * ranks


def _sweep(most: int) -> Iterator[int]:
    size = 8
    while size <= most:
        yield size
        size *= 8


def largest_bytes(memory_gib: float | None, cut: int) -> int:
    """Return the largest size: 1 GiB, or what a rank has room for; `cut` is the backend's `probe_cut`."""
    room = GIB if memory_gib is None else int(memory_gib * GIB) // _SHARE_OF_MEMORY
    return min(GIB, room) // cut


def rounds(members: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Yield rounds of disjoint pairs in which every two of the members meet once, the lower one first.

    >>> list(rounds([0, 1, 2, 3]))
    [[(0, 3), (1, 2)], [(0, 2), (1, 3)], [(0, 1), (2, 3)]]
    """
    ring: list[int | None] = [*members, *([None] if len(members) % 2 else [])]
    for _ in range(len(ring) - 1):
        half = len(ring) // 2
        pairs = zip(ring[:half], reversed(ring[half:]))
        yield [(min(a, b), max(a, b)) for a, b in pairs if a is not None and b is not None]
        ring = [ring[0], ring[-1], *ring[1:-1]]
