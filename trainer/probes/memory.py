"""The memory probe: copy and triad of a quarter of the device's memory, and patterns written over most of it."""

from __future__ import annotations

from typing import Iterator

import torch

from evidence.events.peaks import MEMORY_COPY, MEMORY_TRIAD, PATTERNS, DeviceRate
from trainer.devices import Backend
from trainer.probes.repeats import repeat

_GIB = 2**30
_QUICK_BYTES = 3 * 2**28
"""Of all buffers of a quick probe together: several times the largest caches."""
_SHARE, _MOST = 1 / 4, 0.8
"""Of the memory: what copy and triad use, and what a full probe writes patterns to."""
_QUICK_PATTERNS = 2**29
_CHUNK_BYTES = 2**28
_REGION_S, _BUDGET_S = 0.01, 0.1
_WORDS = (0, -1, 0x55555555, -0x55555556)  # no bit, all bits, every second one


def measure_memory(backend: Backend, capacity_gib: float | None, seed: int, full: bool) -> Iterator[DeviceRate]:
    """Yield the rates of copy and triad, read and written bytes added, and of patterns written and read back.

    A device whose memory is the host's, or of unknown size, is asked as quickly as in a quick probe.
    """
    own = capacity_gib if full and backend.probe_cut == 1 else None
    total = _QUICK_BYTES // backend.probe_cut if own is None else int(own * _GIB * _SHARE)
    for measure in (_copy, _triad):
        backend.release_memory()
        yield measure(backend, total // 12 * 4, seed)
    backend.release_memory()
    wanted = _QUICK_PATTERNS // backend.probe_cut if own is None else int(own * _GIB * _MOST)
    yield _patterns(backend, wanted)
    backend.release_memory()


def _copy(backend: Backend, size: int, seed: int) -> DeviceRate:
    source = _whole_numbers(backend, size * 3 // 2, seed)
    target = torch.zeros_like(source)
    amount = 2 * source.numel() * 4
    done = repeat(backend, MEMORY_COPY, amount, lambda: target.copy_(source), region_s=_REGION_S, budget_s=_BUDGET_S)
    wrong = int((done.result != source).sum())
    return DeviceRate(MEMORY_COPY, amount, done.units, done.times_ns, checked=source.numel(), wrong=wrong)


def _triad(backend: Backend, size: int, seed: int) -> DeviceRate:
    """McCalpin's STREAM: a = b + 2 c. Small whole numbers are added exactly, in any order."""
    b, c = (_whole_numbers(backend, size, seed + turn) for turn in (1, 2))
    a = torch.zeros_like(b)
    amount = 3 * b.numel() * 4
    done = repeat(
        backend, MEMORY_TRIAD, amount, lambda: torch.add(b, c, alpha=2, out=a), region_s=_REGION_S, budget_s=_BUDGET_S
    )
    wrong = int(done.result.sub_(c).sub_(c).ne_(b).sum())
    return DeviceRate(MEMORY_TRIAD, amount, done.units, done.times_ns, checked=b.numel(), wrong=wrong)


def _whole_numbers(backend: Backend, size: int, seed: int) -> torch.Tensor:
    """Return fp32 whole numbers below 1024 on the device, `size` bytes; a short seeded row, repeated.

    Of an odd length, so that no two rows begin alike in a power of two.
    """
    elements = max(1, size // 4)
    row = torch.randint(0, 1024, (min(elements, 1_000_003),), generator=torch.Generator().manual_seed(seed))
    there = row.float().to(backend.device)
    return there.repeat(-(-elements // len(row)))[:elements].contiguous()


def _patterns(backend: Backend, wanted: int) -> DeviceRate:
    """Write each pattern to as many chunks as there is memory for, and read all back after the last was written."""
    words = min(_CHUNK_BYTES, wanted) // 4
    chunks: list[torch.Tensor] = []
    try:
        while len(chunks) < max(1, wanted // (words * 4)):
            chunks.append(torch.empty(words, dtype=torch.int32, device=backend.device))
        spare = torch.empty(words, dtype=torch.int32, device=backend.device)
    except RuntimeError:  # out of memory: what is there
        spare = chunks.pop() if chunks else torch.empty(0, dtype=torch.int32)
    amount, wrong, times_ns = 2 * words * 4 * len(chunks), 0, []
    for pattern in (*_WORDS, None):

        def write(pattern: int | None = pattern) -> torch.Tensor:
            for number, chunk in enumerate(chunks):
                _fill(chunk, pattern, number)
            return chunks[-1]

        begun_ns = backend.clock.now_ns()
        backend.repeat_work(PATTERNS, amount, 1, write)
        for number, chunk in enumerate(chunks):
            _fill(spare, pattern, number)
            wrong += int((chunk != spare).sum())
        backend.synchronise()
        times_ns.append(backend.clock.now_ns() - begun_ns)
    checked = words * len(chunks) * len(times_ns)
    return DeviceRate(PATTERNS, amount, 1, tuple(times_ns), checked=checked, wrong=wrong)


def _fill(chunk: torch.Tensor, pattern: int | None, number: int) -> None:
    """Write a pattern; None is each word's own address, which finds lines that lead to the same place."""
    if pattern is None:
        first = number * len(chunk) % 2**30
        torch.arange(first, first + len(chunk), out=chunk)
    else:
        chunk.fill_(pattern)
