"""Peak memory of every card of a run, and whether the samples of it cover the training."""

from __future__ import annotations

from dataclasses import dataclass

from verdict.events import HOST_BACKENDS, RankEvidence
from verdict.evidence import Evidence
from verdict.telemetry import Card, CardSamples

LARGEST_GAP = 0.1
"""Share of the training that may pass between two samples; always allowed are LARGEST_GAP_S."""
LARGEST_GAP_S = 30.0


@dataclass(frozen=True)
class CardMemory:
    """The peaks of one card in GiB, None where nothing was read.

    `sampled` is the largest sample, `allocated` and `reserved` the device allocator's peaks summed over the
    card's ranks, `resident` the largest resident memory of a rank's process (on the host's own backend only).
    `capacity` is the largest that the card was said to have.
    """

    card: Card
    ranks: tuple[int, ...]
    samples: int
    sources: tuple[str, ...]
    sampled: float | None
    allocated: float | None
    reserved: float | None
    resident: float | None
    capacity: float | None

    @property
    def peak(self) -> float | None:
        """Memory in use at its highest; None without samples.

        What the allocator had reserved and what was resident was in use too, whether or not a sample saw it.
        """
        if self.sampled is None:
            return None
        return max(self.sampled, self.reserved or 0.0, self.resident or 0.0)

    def __str__(self) -> str:
        return f"card {self.card[1]} of {self.card[0]}"


def card_memories(evidence: Evidence) -> tuple[CardMemory, ...]:
    """The cards that the run's ranks used, in the order of their first rank."""
    users: dict[Card, list[RankEvidence]] = {}
    for rank in evidence.ranks:
        if rank.start is not None:
            users.setdefault((rank.start.host, rank.start.card), []).append(rank)
    return tuple(_card_memory(evidence, card, ranks) for card, ranks in users.items())


def unwatched(evidence: Evidence) -> tuple[str, ...]:
    """What is missing for the samples to be proof of the peak, card by card; empty when nothing is.

    Every card of the run needs a sample after training began, and no part of the training, by the clock of the
    rank that took the samples, may pass unseen for longer than LARGEST_GAP of it.
    """
    ranks = {rank.rank: rank for rank in evidence.ranks}
    missing = []
    for memory in card_memories(evidence):
        found = _samples_of(evidence, memory.card)
        faults = [_gap(samples, ranks.get(samples.rank)) for samples in found]
        if not found:
            why = f" ({evidence.telemetry.errors[0]})" if evidence.telemetry.errors else ""
            missing.append(f"{memory}: found no memory sample in telemetry.jsonl{why}, expected some in training")
        elif all(faults):
            missing.append(f"{memory}: {faults[0]}")
    return tuple(missing)


def _card_memory(evidence: Evidence, card: Card, ranks: list[RankEvidence]) -> CardMemory:
    found = _samples_of(evidence, card)
    starts = [rank.start for rank in ranks if rank.start is not None]
    resident = [
        memory.resident_gib
        for rank, start in zip(ranks, starts)
        for memory in rank.memories
        if start.backend in HOST_BACKENDS and memory.resident_gib is not None
    ]
    totals = [samples.total_gib for samples in found] + [start.capacity_gib for start in starts]
    return CardMemory(
        card=card,
        ranks=tuple(rank.rank for rank in ranks),
        samples=sum(len(samples.t_ns) for samples in found),
        sources=tuple(sorted({source for samples in found for source in samples.sources})),
        sampled=max((float(samples.used_gib.max()) for samples in found), default=None),
        allocated=_summed(ranks, "allocated_gib"),
        reserved=_summed(ranks, "reserved_gib"),
        resident=max(resident, default=None),
        capacity=max((total for total in totals if total is not None), default=None),
    )


def _samples_of(evidence: Evidence, card: Card) -> list[CardSamples]:
    return [samples for samples in evidence.telemetry.cards if samples.card == card]


def _summed(ranks: list[RankEvidence], name: str) -> float | None:
    peaks = [max((getattr(memory, name) or 0.0 for memory in rank.memories), default=0.0) for rank in ranks]
    return sum(peaks) or None


def _gap(samples: CardSamples, watcher: RankEvidence | None) -> str:
    """What is wrong with the samples that `watcher` took of a card; "" when nothing is."""
    import numpy as np  # here, so that collecting tests does not pay for it

    if watcher is None or watcher.train_begin_ns is None or watcher.train_end is None:
        return f"its samples were taken by rank {samples.rank}, expected a rank that reported train_begin and train_end"
    begin, end = watcher.train_begin_ns, watcher.train_end.t_ns
    if samples.t_ns.max() < begin:
        return "found no memory sample after train_begin, expected some in training"
    inside = np.sort(samples.t_ns[(samples.t_ns > begin) & (samples.t_ns < end)])
    gap_s = float(np.diff(np.concatenate(([begin], inside, [end]))).max()) / 1e9
    allowed_s = max(LARGEST_GAP_S, LARGEST_GAP * (end - begin) / 1e9)
    if gap_s > allowed_s:
        return (
            f"{gap_s:.0f} s of the training passed without a memory sample, expected at most {allowed_s:.0f} s; "
            "a peak may have been missed"
        )
    return ""
