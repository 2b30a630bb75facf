"""The copies probe: host to device and back, pinned and pageable, one device alone and all of a host at once."""

from __future__ import annotations

import functools
from typing import Iterator

import torch

from evidence.events.peaks import COPIES, HOST_TO_DEVICE, DeviceRate
from trainer.devices import Backend
from trainer.probes.repeats import repeat
from trainer.ranks import HostGroup

_BYTES = 2**28  # of a copy
_REGION_S, _BUDGET_S = 0.01, 0.1


def measure_copies(backend: Backend, group: HostGroup, seed: int, full: bool) -> Iterator[DeviceRate]:
    """Yield the rate of every copy that this rank makes; a collective call of all ranks.

    Alone copies the first rank of each host, in a full probe each in turn. What came back is compared with what was
    sent.
    """
    local = group.ranks.local_world_size
    turns = [{turn} for turn in range(local if full else 1)]
    if local > 1:
        turns.append(set(range(local)))
    for pinned in (True, False) if backend.pin_memory or backend.simulated else (False,):
        for turn in turns:
            group.barrier()
            if group.ranks.local_rank in turn:
                yield from _both_ways(backend, seed, pinned, len(turn))
    group.barrier()


def _both_ways(backend: Backend, seed: int, pinned: bool, devices: int) -> Iterator[DeviceRate]:
    amount = _BYTES // backend.probe_cut
    elements, pins = amount // 4, pinned and backend.pin_memory
    draw = torch.Generator().manual_seed(seed)
    sent = torch.empty(elements, dtype=torch.int32, pin_memory=pins).random_(generator=draw)
    back = torch.zeros(elements, dtype=torch.int32, pin_memory=pins)
    there = torch.zeros(elements, dtype=torch.int32, device=backend.device)
    for of in COPIES:
        source, target = (sent, there) if of == HOST_TO_DEVICE else (there, back)
        copy = functools.partial(target.copy_, source, non_blocking=pins)
        done = repeat(backend, of, amount, copy, region_s=_REGION_S, budget_s=_BUDGET_S, fills=devices > 1)
        backend.synchronise()
        wrong = int((done.result.cpu() != sent).sum())
        yield DeviceRate(
            of, amount, done.units, done.times_ns, devices=devices, pinned=pinned, checked=elements, wrong=wrong
        )
