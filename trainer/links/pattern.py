"""Integers to exchange, other ones in every call and on every rank, whose sums over all ranks are exact in fp32."""

from __future__ import annotations

import torch

_PERIOD = 262_147  # prime, so that no chunk of a power of two lands on the same numbers
_RANK_SHIFT, _CALL_SHIFT = 40_009, 7_919
_EXACT = 1 << 24  # up to here fp32 has every integer
_NO_RANK = -1


class Pattern:
    """Random integers from 0 to 2^24 / ranks in fp32 on a device, of which each rank and call has a rotation.

    nccl-tests' idea of `verifiable` data: a result is right if it has the expected bits, so all ranks have the same.
    """

    def __init__(self, ranks: int, device: torch.device, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.randint(0, (_EXACT - 1) // ranks + 1, (_PERIOD,), generator=generator)
        # Twice, so that every rotation is a slice.
        self._twice = torch.cat([numbers, numbers]).to(torch.float32).to(device)
        self._ranks = ranks

    def of(self, rank: int, call: int, elements: int, begin: int = 0) -> torch.Tensor:
        """Return the numbers of a rank in a call, from element `begin` on: fp32 [elements]."""
        first = _shift(rank, call, begin)
        if elements <= _PERIOD:
            return self._twice[first : first + elements]
        one = self._twice[first : first + _PERIOD]
        return one.repeat(-(-elements // _PERIOD))[:elements]

    def sum(self, call: int, elements: int, begin: int = 0) -> torch.Tensor:
        """Return the sum of all ranks' numbers in a call, from element `begin` on: fp32 [elements], exact."""
        within = min(elements, _PERIOD)
        total = torch.zeros(within, dtype=torch.float32, device=self._twice.device)
        for rank in range(self._ranks):
            total += self.of(rank, call, within, begin)
        return total if elements <= _PERIOD else total.repeat(-(-elements // _PERIOD))[:elements]

    def missing_in(self, difference: float, call: int, element: int) -> int:
        """Return the rank whose number a sum lacks, or has from the call before; -1 if no single one explains it."""
        for rank in range(self._ranks):
            own = float(self.of(rank, call, 1, element)[0])
            before = float(self.of(rank, call - 1, 1, element)[0])
            if difference in (-own, before - own) and difference:
                return rank
        return _NO_RANK


def _shift(rank: int, call: int, begin: int) -> int:
    return (rank * _RANK_SHIFT + call * _CALL_SHIFT + begin) % _PERIOD
