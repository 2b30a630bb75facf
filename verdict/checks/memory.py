"""Checks of the memory that was read, and that the device on which it was read is the one that trained."""

from __future__ import annotations

from typing import Iterator

from evidence.files import WORK_SCHEMA
from evidence.run_file import PROBES
from verdict.checks.invariants import Case, check
from verdict.metrics.activity import idle
from verdict.metrics.memory import device_memories, disagreeing, least_memory, unwatched


@check("memory", at_end=True)
def memory_is_possible(case: Case) -> Iterator[str]:
    """No device used more memory than it has, and samples cover the training on every device."""
    run = case.evidence.run
    for memory in device_memories(case.evidence):
        for name, found in (("sampled", memory.sampled), ("reserved", memory.reserved), ("resident", memory.resident)):
            if found is not None and found < 0:
                yield f"{memory}: found {found:.3f} GiB {name}, expected 0 or more"
        capacity = memory.capacity
        if capacity is None and run is not None:
            capacity = run.card_memory_gib
        if capacity is None:
            capacity = case.cell.expectations["mem"].capacity
        if memory.peak is not None and capacity is not None and memory.peak > capacity:
            yield f"{memory}: found {memory.peak:.3f} GiB in use, expected at most its capacity, {capacity:.3f} GiB"
    if "mem" in case.cell.applicable and case.protocol != PROBES:
        yield from unwatched(case.evidence)


@check("memory-of-workload", at_end=True)
def memory_holds_the_workload(case: Case) -> Iterator[str]:
    """No device used less memory than weights, gradients, momentum and the images of a batch need."""
    for rank in case.evidence.ranks:
        if rank.start is None or case.protocol == PROBES:
            continue
        if rank.model is None:
            yield f"rank {rank.rank}: found no 'model' event, expected one: what its memory has to hold is not known"
        elif rank.model.trained is None and rank.start.schema >= WORK_SCHEMA:
            yield f"rank {rank.rank}: found no number of trained parameters in 'model', expected one"
    ranks = {rank.rank: rank for rank in case.evidence.ranks}
    for memory in device_memories(case.evidence):
        needed = [one for one in (least_memory(case.evidence, ranks[rank]) for rank in memory.ranks) if one is not None]
        least = max(needed, key=lambda one: one.gib, default=None)
        if least is not None and memory.peak is not None and memory.peak < least.gib:
            yield (
                f"{memory}: found {memory.peak:.3f} GiB in use at most, expected at least {least}: this is not the "
                "memory of this workload"
            )


@check("memory-sources-agree")
def sources_of_memory_agree(case: Case) -> Iterator[str]:
    """No tool saw more than 5 % less memory in use than the device's allocator had given out at its peak."""
    yield from disagreeing(case.evidence)


@check("device-at-work")
def devices_were_at_work(case: Case) -> Iterator[str]:
    """Use and power, where a tool read them, show that every device was at work in training."""
    if case.protocol == PROBES:
        return
    yield from idle(case.evidence)
